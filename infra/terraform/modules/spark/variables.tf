variable "lake" {
  description = "The output `lake` of the storage module."
  nullable    = false
  type = object({
    environment  = string
    bucket_name  = string
    prefix       = string
    stack_prefix = string
    kms_key_arn  = string
  })
}

variable "dag_role_name" {
  description = "The name of the DAGs' role, which gets the right to run the job; empty for none."
  type        = string
  default     = ""
  nullable    = false
}

variable "glue_version" {
  description = "The version of AWS Glue; its Python must be 3.11 or newer."
  type        = string
  default     = "5.0"
  nullable    = false
}

variable "worker_type" {
  description = "The kind of worker; a larger one also gives the driver more memory."
  type        = string
  default     = "G.1X"
  nullable    = false

  validation {
    condition     = contains(["G.1X", "G.2X", "G.4X", "G.8X"], var.worker_type)
    error_message = "worker_type is one of G.1X, G.2X, G.4X, G.8X."
  }
}

variable "number_of_workers" {
  description = "The most workers of one run; runs with fewer tasks than that release some."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.number_of_workers >= 2 && var.number_of_workers <= 1000 && floor(var.number_of_workers) == var.number_of_workers
    error_message = "number_of_workers is a whole number from 2 to 1000."
  }
}

variable "max_concurrent_runs" {
  description = "The most tables that are processed at once."
  type        = number
  default     = 5
  nullable    = false

  validation {
    condition     = var.max_concurrent_runs >= 1 && var.max_concurrent_runs <= 200 && floor(var.max_concurrent_runs) == var.max_concurrent_runs
    error_message = "max_concurrent_runs is a whole number from 1 to 200."
  }
}

variable "timeout_minutes" {
  description = "A run that takes longer is stopped."
  type        = number
  default     = 480
  nullable    = false

  validation {
    condition     = var.timeout_minutes >= 5 && var.timeout_minutes <= 2880 && floor(var.timeout_minutes) == var.timeout_minutes
    error_message = "timeout_minutes is a whole number from 5 to 2880."
  }
}

variable "python_modules" {
  description = "Modules that Glue installs from PyPI for each run, separated by commas. If the job cannot reach PyPI, give the S3 addresses of their wheels."
  type        = string
  default     = "boto3==1.43.117,numba==0.68.1,pyarrow==25.0.1,pyiceberg==0.12.0"
  nullable    = false
}

variable "may_delete_data" {
  description = "Whether the job may delete raw objects (raw_retention_days), as for the DAGs' role."
  type        = bool
  default     = true
  nullable    = false
}

variable "permissions_boundary_arn" {
  description = "A managed policy that bounds the job's role; empty for none. Not that of airflow.yaml, which is for the forwarder and Firehose and leaves out the catalog."
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
