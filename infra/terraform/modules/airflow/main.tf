# The DAGs' role, the role that CloudFormation deploys with, and the boundary of the roles that the lake's stacks make.

resource "aws_cloudformation_stack" "this" {
  #checkov:skip=CKV_AWS_124:The person who applies sees the stack's events; a topic for them would add nothing.

  name          = "dynalake-${replace(var.environment, "-", "--")}-airflow"
  template_body = file("${path.module}/../../../cloudformation/airflow.yaml")
  capabilities  = ["CAPABILITY_IAM"]

  parameters = {
    Environment          = var.environment
    BucketName           = var.bucket
    Prefix               = var.prefix
    TrustedPrincipalArns = join(",", var.trusted_principal_arns)
    ExternalId           = var.external_id
    SourceTables         = var.source_tables
    MayChangeTables      = tostring(var.may_change_tables)
    MayDeleteData        = tostring(var.may_delete_data)
    KmsKeyArn            = var.kms_key_arn
  }

  tags = merge(var.tags, { "dynalake:environment" = var.environment })
}
