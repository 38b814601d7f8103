# The AWS Glue job that converts and compacts tables beyond one Airflow worker. Optional: one per lake.

resource "aws_cloudformation_stack" "this" {
  #checkov:skip=CKV_AWS_124:The person who applies sees the stack's events; a topic for them would add nothing.

  name          = "${var.lake.stack_prefix}-spark"
  template_body = file("${path.module}/../../../cloudformation/spark.yaml")
  capabilities  = ["CAPABILITY_IAM"]

  parameters = {
    Environment            = var.lake.environment
    BucketName             = var.lake.bucket_name
    Prefix                 = var.lake.prefix
    DagRoleName            = var.dag_role_name
    GlueVersion            = var.glue_version
    WorkerType             = var.worker_type
    NumberOfWorkers        = var.number_of_workers
    MaxConcurrentRuns      = var.max_concurrent_runs
    TimeoutMinutes         = var.timeout_minutes
    PythonModules          = var.python_modules
    MayDeleteData          = tostring(var.may_delete_data)
    KmsKeyArn              = var.lake.kms_key_arn
    PermissionsBoundaryArn = var.permissions_boundary_arn
  }

  tags = merge(var.tags, { "dynalake:environment" = var.lake.environment })
}
