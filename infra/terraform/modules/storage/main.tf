# What all tables of one lake share: the bucket, the Glue database, the Athena workgroup, Firehose's role, the topic.

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  # Built as in plugins/dynalake/names.py, which tells the DAGs where the lake is.
  stack_prefix  = "dynalake-${replace(var.environment, "-", "--")}"
  stream_prefix = "dynalake-${replace(var.environment, "-", "_")}"
  bucket        = var.bucket != "" ? var.bucket : "dynalake-${var.environment}-${data.aws_caller_identity.current.account_id}-${data.aws_region.current.region}"

  # Every name of a zone that Firehose knows, with the name that Firehose uses.
  zones = merge([
    for line in split("\n", file("${path.module}/../../../../plugins/dynalake/firehose_zones.txt")) :
    { for name in split(" ", line) : name => split(" ", line)[0] } if can(regex("^[A-Z]", line))
  ]...)
  time_zone = lookup(local.zones, var.time_zone, "")
}

resource "aws_cloudformation_stack" "this" {
  #checkov:skip=CKV_AWS_124:The person who applies sees the stack's events; a topic for them would add nothing.

  name          = "${local.stack_prefix}-storage"
  template_body = file("${path.module}/../../../cloudformation/storage.yaml")
  capabilities  = ["CAPABILITY_NAMED_IAM"]
  iam_role_arn  = var.deploy_role_arn != "" ? var.deploy_role_arn : null

  parameters = {
    Environment            = var.environment
    BucketName             = local.bucket
    CreateBucket           = tostring(var.create_bucket)
    Prefix                 = var.prefix
    DatabaseName           = "dynalake_${replace(var.environment, "-", "_")}"
    WorkgroupName          = "dynalake-${var.environment}"
    StreamPrefix           = local.stream_prefix
    TimeZone               = local.time_zone
    LakeParameter          = "/dynalake/${var.environment}/lake"
    KmsKeyArn              = var.kms_key_arn
    Versioning             = var.versioning
    NoncurrentDays         = var.noncurrent_days
    RawRetentionDays       = var.raw_retention_days
    RejectedRetentionDays  = var.rejected_retention_days
    QueryResultDays        = var.query_result_days
    AccessLogBucket        = var.access_log_bucket
    QueryBytesLimit        = var.query_bytes_limit
    AlarmEmail             = var.alarm_email
    RejectedAlarmObjects   = var.rejected_alarm_objects
    PermissionsBoundaryArn = var.permissions_boundary_arn
    DeployRoleArn          = var.deploy_role_arn
    LakeFormationWriterArn = var.lake_formation_writer_arn
    LakeFormationReaderArn = var.lake_formation_reader_arn
  }

  tags = merge(var.tags, { "dynalake:environment" = var.environment })

  lifecycle {
    precondition {
      condition     = local.time_zone != ""
      error_message = "time_zone is '${var.time_zone}', which Firehose does not know. Choose one of https://docs.aws.amazon.com/firehose/latest/dev/s3-object-name.html, or an alias of one."
    }
  }
}
