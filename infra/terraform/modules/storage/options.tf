# What the trigger form of dynalake_setup calls these, with the same defaults and limits.

variable "kms_key_arn" {
  description = "A KMS key for the bucket, streams, logs and alarms; empty for keys that AWS manages. Its policy must let CloudWatch and CloudWatch Logs use it."
  type        = string
  default     = ""
  nullable    = false
}

variable "versioning" {
  description = "Whether the bucket keeps overwritten and deleted objects."
  type        = string
  default     = "Enabled"
  nullable    = false

  validation {
    condition     = contains(["Enabled", "Suspended"], var.versioning)
    error_message = "versioning is one of Enabled, Suspended."
  }
}

variable "noncurrent_days" {
  description = "How many days the bucket keeps overwritten and deleted objects; those of exports and the notes of conversions: one."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.noncurrent_days >= 1 && var.noncurrent_days <= 36500 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days is a whole number from 1 to 36500."
  }
}

variable "raw_retention_days" {
  description = "After how many days `dynalake_compact` deletes raw objects that were converted to live rows. 0: never; otherwise at least 8."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.raw_retention_days >= 0 && var.raw_retention_days <= 36500 && floor(var.raw_retention_days) == var.raw_retention_days
    error_message = "raw_retention_days is a whole number from 0 to 36500."
  }
}

variable "rejected_retention_days" {
  description = "After how many days rejected data is deleted; 0: never."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.rejected_retention_days >= 0 && var.rejected_retention_days <= 36500 && floor(var.rejected_retention_days) == var.rejected_retention_days
    error_message = "rejected_retention_days is a whole number from 0 to 36500."
  }
}

variable "query_result_days" {
  description = "After how many days Athena's results are deleted."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.query_result_days >= 1 && var.query_result_days <= 36500 && floor(var.query_result_days) == var.query_result_days
    error_message = "query_result_days is a whole number from 1 to 36500."
  }
}

variable "query_bytes_limit" {
  description = "The most bytes that one query may scan (Athena's minimum is 10,000,000); 0: no limit."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.query_bytes_limit >= 0 && var.query_bytes_limit <= 9007199254740992 && floor(var.query_bytes_limit) == var.query_bytes_limit
    error_message = "query_bytes_limit is a whole number from 0 to 9007199254740992."
  }
}

variable "access_log_bucket" {
  description = "A bucket for S3's access logs; empty for none."
  type        = string
  default     = ""
  nullable    = false
}

variable "alarm_email" {
  description = "The address that alarms are sent to; empty for none."
  type        = string
  default     = ""
  nullable    = false
}

variable "rejected_alarm_objects" {
  description = "Alarm if more objects than this are written under `{prefix}-errors/` within five minutes."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.rejected_alarm_objects >= 0 && var.rejected_alarm_objects <= 1000000 && floor(var.rejected_alarm_objects) == var.rejected_alarm_objects
    error_message = "rejected_alarm_objects is a whole number from 0 to 1000000."
  }
}

variable "deploy_role_arn" {
  description = "The role that CloudFormation uses to deploy the lake's stacks; empty: the role that it used last, or that of the AWS connection."
  type        = string
  default     = ""
  nullable    = false
}

variable "permissions_boundary_arn" {
  description = "A managed policy that bounds the roles of the stacks; empty for none."
  type        = string
  default     = ""
  nullable    = false
}

variable "lake_formation_writer_arn" {
  description = "In an account with Lake Formation permissions: the role of the DAGs, which is granted the rights that it needs on the database and its tables. Empty: no grants."
  type        = string
  default     = ""
  nullable    = false
}

variable "lake_formation_reader_arn" {
  description = "In an account with Lake Formation permissions: a role or user that may read all tables of the database. Empty for none."
  type        = string
  default     = ""
  nullable    = false
}
