# The Lambda function that sends the changes of all tables of one lake on, its role, its log, its alarms, the dashboard.

resource "aws_cloudformation_stack" "this" {
  #checkov:skip=CKV_AWS_124:The person who applies sees the stack's events; a topic for them would add nothing.

  name          = "${var.lake.stack_prefix}-forwarder"
  template_body = file("${path.module}/../../../cloudformation/forwarder.yaml")
  capabilities  = ["CAPABILITY_NAMED_IAM"]
  iam_role_arn  = var.lake.deploy_role_arn != "" ? var.lake.deploy_role_arn : null

  parameters = {
    Environment             = var.lake.environment
    FunctionName            = "dynalake-${var.lake.environment}-forwarder"
    BucketName              = var.lake.bucket_name
    Prefix                  = var.lake.prefix
    CodeKey                 = aws_s3_object.code.key
    CodeVersion             = local.code_version
    StreamPrefix            = var.lake.stream_prefix
    TimeZone                = var.lake.time_zone
    DashboardName           = "dynalake-${var.lake.environment}"
    PermissionsBoundaryArn  = var.lake.permissions_boundary_arn
    SettingsPath            = "/dynalake/${var.lake.environment}/tables"
    TopicArn                = var.lake.topic_arn
    Runtime                 = var.runtime
    Architecture            = var.architecture
    MemoryMb                = var.memory_mb
    TimeoutSeconds          = var.timeout_seconds
    ReservedConcurrency     = var.reserved_concurrency
    Tracing                 = var.tracing
    LogRetentionDays        = var.forwarder_log_retention_days
    KmsKeyArn               = var.lake.kms_key_arn
    ErrorsAlarmCount        = var.errors_alarm_count
    ThrottlesAlarmCount     = var.lambda_throttles_alarm_count
    DurationAlarmPercent    = var.duration_alarm_percent
    IteratorAgeAlarmMinutes = var.iterator_age_alarm_minutes
  }

  tags = merge(var.tags, { "dynalake:environment" = var.lake.environment })
}
