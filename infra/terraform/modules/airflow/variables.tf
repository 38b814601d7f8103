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
  description = "Your own existing bucket for the lake's data; the roles may change none of its properties. Empty for dynalake-{environment}-{account}-{region}, which the first setup makes."
  type        = string
  default     = ""
  nullable    = false
}

variable "prefix" {
  description = "The root of the lake's folders in the bucket, as the first setup gives it (prefix)."
  type        = string
  default     = "dynamodb"
  nullable    = false

  validation {
    condition     = length(var.prefix) <= 100 && can(regex("^[a-zA-Z0-9][a-zA-Z0-9_.-]*(/[a-zA-Z0-9][a-zA-Z0-9_.-]*)*$", var.prefix))
    error_message = "prefix is up to 100 letters, digits, '_', '.' and '-', with '/' between parts that begin with a letter or digit."
  }
}

variable "trusted_principal_arns" {
  description = "Who may assume the DAGs' role: the roles of Airflow's workers (on EC2, ECS, EKS or Amazon MWAA), or the account's root, which leaves the choice to the policies of the account's other roles."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.trusted_principal_arns) > 0
    error_message = "trusted_principal_arns names at least one role."
  }
}

variable "external_id" {
  description = "The external id that Airflow's AWS connection must give; empty for none."
  type        = string
  default     = ""
  nullable    = false
}

variable "source_tables" {
  description = "The DynamoDB tables that may be captured, as a pattern for ARNs; \"*\" for any table."
  type        = string
  default     = "*"
  nullable    = false
}

variable "may_change_tables" {
  description = "Whether a setup may turn on a table's stream and its point-in-time recovery. AWS has one permission for that and for everything else about a table, such as its capacity and its indexes."
  type        = bool
  default     = false
  nullable    = false
}

variable "may_delete_data" {
  description = "Whether the roles may delete raw objects, versions of any object and Glue tables, and set the bucket's lifecycle, versioning and policy, which the first setup needs if it makes the bucket."
  type        = bool
  default     = true
  nullable    = false
}

variable "kms_key_arn" {
  description = "The lake's KMS key; empty for none."
  type        = string
  default     = ""
  nullable    = false
}

variable "tags" {
  description = "Tags for the stack and everything in it that takes tags."
  type        = map(string)
  default     = {}
  nullable    = false
}
