# The pipeline of one DynamoDB table: the event source mapping, Kinesis, Firehose, the table's settings and its alarms.

locals {
  # A table without a Kinesis stream has no stream mode and no shards.
  stream_mode = var.delivery == "kinesis" ? var.stream_mode : "provisioned"

  settings = {
    table                   = var.table
    owner                   = var.owner
    delivery                = var.delivery
    stream_mode             = local.stream_mode
    shards                  = local.stream_mode == "provisioned" && var.delivery == "kinesis" ? var.shards : 0
    stream_retention_hours  = var.stream_retention_hours
    buffer_seconds          = var.buffer_seconds
    buffer_mb               = var.buffer_mb
    max_record_kb           = var.max_record_kb
    batch_size              = var.batch_size
    batch_window_seconds    = var.batch_window_seconds
    parallelization         = var.parallelization
    max_retries             = var.max_retries
    max_record_age_seconds  = var.max_record_age_seconds
    updated_at_attribute    = var.updated_at_attribute
    columns                 = var.columns
    schema_changes          = var.schema_changes
    sort_by                 = var.sort_by
    codec                   = var.codec
    part_mb                 = var.part_mb
    orc_copy                = var.orc_copy
    widen_budget_gb         = var.widen_budget_gb
    fold_at_percent         = var.fold_at_percent
    fold_gb                 = var.fold_gb
    fold_every_hours        = var.fold_every_hours
    snapshot_days           = var.snapshot_days
    history_days            = var.history_days
    freshness_alarm_minutes = var.freshness_alarm_minutes
    delivery_alarm_percent  = var.delivery_alarm_percent
    throttles_alarm_count   = var.throttles_alarm_count
    failed_alarm_count      = var.failed_alarm_count
    log_retention_days      = var.log_retention_days
  }
}

# The settings that the lake has now; none for a table that is not in it yet.
data "aws_ssm_parameters_by_path" "tables" {
  path = local.settings_path
}

locals {
  stored = zipmap(data.aws_ssm_parameters_by_path.tables.names, nonsensitive(data.aws_ssm_parameters_by_path.tables.values))
  now    = try(jsondecode(local.stored["${local.settings_path}/${var.table}"]).delivery, var.delivery)
}

resource "aws_cloudformation_stack" "this" {
  #checkov:skip=CKV_AWS_124:The person who applies sees the stack's events; a topic for them would add nothing.

  name          = local.names.stack
  template_body = file("${path.module}/../../../cloudformation/table.yaml")
  capabilities  = ["CAPABILITY_IAM"]
  iam_role_arn  = var.lake.deploy_role_arn != "" ? var.lake.deploy_role_arn : null

  parameters = {
    Environment              = var.lake.environment
    Table                    = var.table
    TableStreamArn           = var.table_stream_arn
    FunctionArn              = var.function_arn
    FirehoseRoleArn          = var.lake.firehose_role_arn
    TopicArn                 = var.lake.topic_arn
    BucketName               = var.lake.bucket_name
    KmsKeyArn                = var.lake.kms_key_arn
    StreamName               = local.names.stream
    DeliveryStreamName       = local.names.delivery_stream
    DirectDeliveryStreamName = local.names.direct_stream
    SettingsParameter        = "${local.settings_path}/${var.table}"
    SettingsJson             = jsonencode(local.settings)
    RawPrefix                = "${var.lake.prefix}/json/${var.table}/"
    RejectedPrefix           = "${var.lake.prefix}-errors/delivery/${var.table}/"
    TimeZone                 = var.lake.time_zone
    Delivery                 = var.delivery
    Beside                   = "none"
    MappingEnabled           = "false"
    StreamMode               = var.stream_mode
    Shards                   = var.shards
    StreamRetentionHours     = var.stream_retention_hours
    BufferSeconds            = var.buffer_seconds
    BufferMb                 = var.buffer_mb
    BatchSize                = var.batch_size
    BatchWindowSeconds       = var.batch_window_seconds
    Parallelization          = var.parallelization
    MaxRetries               = var.max_retries
    MaxRecordAgeSeconds      = var.max_record_age_seconds
    LogRetentionDays         = var.log_retention_days
    FreshnessAlarmMinutes    = var.freshness_alarm_minutes
    ThrottlesAlarmCount      = var.throttles_alarm_count
    DeliveryAlarmPercent     = var.delivery_alarm_percent
    FailedAlarmCount         = var.failed_alarm_count
  }

  tags = merge(var.tags, { "dynalake:environment" = var.lake.environment, "dynalake:table" = var.table })

  lifecycle {
    # dynalake_setup decides when the table's stream is read, and which second delivery exists, once it has proven them.
    ignore_changes = [parameters["Beside"], parameters["MappingEnabled"]]

    precondition {
      condition     = local.now == var.delivery
      error_message = "${var.table} is delivered by '${local.now}' now. Changes would be lost if '${var.delivery}' were not proven first. Run dynalake_setup with delivery = \"${var.delivery}\" and update_settings, then apply."
    }

    precondition {
      condition     = var.batch_size <= 10 || var.batch_window_seconds > 0
      error_message = "batch_window_seconds is 0, but batch_size is more than 10."
    }

    precondition {
      condition     = var.freshness_alarm_minutes * 60 > var.buffer_seconds
      error_message = "freshness_alarm_minutes is not more than buffer_seconds: the alarm would never end."
    }

    precondition {
      condition     = var.history_days == 0 || var.history_days >= 31
      error_message = "history_days is 0, or at least 31."
    }

    precondition {
      condition     = length(var.owner) <= 60
      error_message = "owner is one line of at most 60 characters."
    }

    precondition {
      # Beyond these, jsonencode and Python write the same settings differently, and each would change the other's.
      condition     = can(regex("^[ -~]*$", "${var.owner}${var.updated_at_attribute}${var.columns}${var.sort_by}")) && !can(regex("[<>&]", "${var.owner}${var.updated_at_attribute}${var.columns}${var.sort_by}"))
      error_message = "owner, updated_at_attribute, columns and sort_by must be ASCII without '<', '>' and '&' here. Set up a table with other characters by dynalake_setup."
    }
  }
}
