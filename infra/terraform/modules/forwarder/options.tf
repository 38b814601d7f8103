# What the trigger form of dynalake_setup calls these, with the same defaults and limits.

variable "runtime" {
  description = "The Lambda runtime; Python 3.11 or newer."
  type        = string
  default     = "python3.13"
  nullable    = false
}

variable "architecture" {
  description = "The processor of the forwarder; its code runs on both."
  type        = string
  default     = "arm64"
  nullable    = false

  validation {
    condition     = contains(["arm64", "x86_64"], var.architecture)
    error_message = "architecture is one of arm64, x86_64."
  }
}

variable "memory_mb" {
  description = "The forwarder's memory, which also sets its share of a processor; 1,769 MB is one processor."
  type        = number
  default     = 512
  nullable    = false

  validation {
    condition     = var.memory_mb >= 128 && var.memory_mb <= 10240 && floor(var.memory_mb) == var.memory_mb
    error_message = "memory_mb is a whole number from 128 to 10240."
  }
}

variable "timeout_seconds" {
  description = "How long one invocation may keep trying to send a batch."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.timeout_seconds >= 15 && var.timeout_seconds <= 900 && floor(var.timeout_seconds) == var.timeout_seconds
    error_message = "timeout_seconds is a whole number from 15 to 900."
  }
}

variable "reserved_concurrency" {
  description = "Concurrent invocations reserved for the forwarder, which are also its limit; -1: none."
  type        = number
  default     = -1
  nullable    = false

  validation {
    condition     = var.reserved_concurrency >= -1 && var.reserved_concurrency <= 100000 && floor(var.reserved_concurrency) == var.reserved_concurrency
    error_message = "reserved_concurrency is a whole number from -1 to 100000."
  }
}

variable "tracing" {
  description = "Whether AWS X-Ray traces invocations."
  type        = string
  default     = "PassThrough"
  nullable    = false

  validation {
    condition     = contains(["PassThrough", "Active"], var.tracing)
    error_message = "tracing is one of PassThrough, Active."
  }
}

variable "forwarder_log_retention_days" {
  description = "How many days the forwarder's log is kept."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.forwarder_log_retention_days)
    error_message = "forwarder_log_retention_days is one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}

variable "errors_alarm_count" {
  description = "Alarm if more invocations than this fail within a minute, in three of five minutes."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.errors_alarm_count >= 0 && var.errors_alarm_count <= 1000000 && floor(var.errors_alarm_count) == var.errors_alarm_count
    error_message = "errors_alarm_count is a whole number from 0 to 1000000."
  }
}

variable "lambda_throttles_alarm_count" {
  description = "Alarm if more invocations than this are throttled within a minute, in three of five minutes."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.lambda_throttles_alarm_count >= 0 && var.lambda_throttles_alarm_count <= 1000000 && floor(var.lambda_throttles_alarm_count) == var.lambda_throttles_alarm_count
    error_message = "lambda_throttles_alarm_count is a whole number from 0 to 1000000."
  }
}

variable "duration_alarm_percent" {
  description = "Alarm if invocations last longer than this percentage of the timeout, in three of five minutes."
  type        = number
  default     = 80
  nullable    = false

  validation {
    condition     = var.duration_alarm_percent >= 1 && var.duration_alarm_percent <= 100 && floor(var.duration_alarm_percent) == var.duration_alarm_percent
    error_message = "duration_alarm_percent is a whole number from 1 to 100."
  }
}

variable "iterator_age_alarm_minutes" {
  description = "Alarm if the youngest change of a batch is older than this when it is sent; a DynamoDB stream keeps changes for 24 hours."
  type        = number
  default     = 15
  nullable    = false

  validation {
    condition     = var.iterator_age_alarm_minutes >= 1 && var.iterator_age_alarm_minutes <= 1440 && floor(var.iterator_age_alarm_minutes) == var.iterator_age_alarm_minutes
    error_message = "iterator_age_alarm_minutes is a whole number from 1 to 1440."
  }
}
