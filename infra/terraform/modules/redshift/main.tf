# The role with which Redshift Spectrum reads the lake's tables. Optional: one per lake.

resource "aws_cloudformation_stack" "this" {
  #checkov:skip=CKV_AWS_124:The person who applies sees the stack's events; a topic for them would add nothing.

  name          = "${var.lake.stack_prefix}-redshift"
  template_body = file("${path.module}/../../../cloudformation/redshift.yaml")
  capabilities  = ["CAPABILITY_IAM"]

  parameters = {
    Environment            = var.lake.environment
    BucketName             = var.lake.bucket_name
    Prefix                 = var.lake.prefix
    KmsKeyArn              = var.lake.kms_key_arn
    PermissionsBoundaryArn = var.permissions_boundary_arn
  }

  tags = merge(var.tags, { "dynalake:environment" = var.lake.environment })
}
