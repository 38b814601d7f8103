variable "lake" {
  description = "The output `lake` of the storage module."
  nullable    = false
  type = object({
    environment       = string
    bucket_name       = string
    prefix            = string
    time_zone         = string
    stack_prefix      = string
    stream_prefix     = string
    firehose_role_arn = string
    topic_arn         = string
    kms_key_arn       = string
    deploy_role_arn   = string
  })
}

variable "function_arn" {
  description = "The output `function_arn` of the forwarder module."
  type        = string
  nullable    = false
}

variable "table" {
  description = "The DynamoDB table."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-zA-Z0-9_.-]{3,255}$", var.table))
    error_message = "table is a DynamoDB table name: 3 to 255 letters, digits, '_', '-' and '.'."
  }
}

variable "table_stream_arn" {
  description = "The table's DynamoDB stream, of view type NEW_IMAGE or NEW_AND_OLD_IMAGES."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^arn:[^:]+:dynamodb:[^:]+:[^:]+:table/[^/]+/stream/", var.table_stream_arn))
    error_message = "table_stream_arn is the stream of a DynamoDB table. Turn the table's stream on (stream_enabled, stream_view_type = NEW_AND_OLD_IMAGES)."
  }
}

variable "tags" {
  description = "Tags for the stack and everything in it that takes tags."
  type        = map(string)
  default     = {}
  nullable    = false
}
