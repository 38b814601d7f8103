variable "environment" {
  description = "The lake's name. One lake per environment, account and region."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,15}$", var.environment))
    error_message = "environment has 1 to 16 characters: a lower-case letter, then lower-case letters, digits and '-'."
  }
}

variable "bucket" {
  description = "The bucket that holds the lake's data; empty for dynalake-{environment}-{account}-{region}."
  type        = string
  default     = ""
  nullable    = false
}

variable "create_bucket" {
  description = "Whether the stack makes the bucket. False for an existing bucket, whose policy and lifecycle stay yours."
  type        = bool
  default     = true
  nullable    = false
}

variable "prefix" {
  description = "The root of the lake's folders in the bucket: `{prefix}/json/`, `{prefix}/parquet/`, `{prefix}-errors/` and `{prefix}-state/`. It may contain `/`. It cannot change once the lake exists."
  type        = string
  default     = "dynamodb"
  nullable    = false

  validation {
    condition     = length(var.prefix) <= 100 && can(regex("^[a-zA-Z0-9][a-zA-Z0-9_.-]*(/[a-zA-Z0-9][a-zA-Z0-9_.-]*)*$", var.prefix))
    error_message = "prefix is up to 100 letters, digits, '_', '.' and '-', with '/' between parts that begin with a letter or digit."
  }

  validation {
    condition     = !contains(["aws", "athena-results", "dynalake-code"], split("/", var.prefix)[0])
    error_message = "prefix is not in aws/, athena-results/ or dynalake-code/, which are next to it."
  }
}

variable "time_zone" {
  description = "The IANA time zone of the days in `dt`, such as `Europe/Berlin`; Firehose must know it. It cannot change once the lake exists, and is stored under Firehose's name for it (`Asia/Calcutta` for `Asia/Kolkata`)."
  type        = string
  default     = "UTC"
  nullable    = false
}

variable "tags" {
  description = "Tags for the stack and everything in it that takes tags."
  type        = map(string)
  default     = {}
  nullable    = false
}
