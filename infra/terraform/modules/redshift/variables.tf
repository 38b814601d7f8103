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

variable "permissions_boundary_arn" {
  description = "A managed policy that bounds the role; empty for none. Not that of airflow.yaml, which is for the forwarder and Firehose and leaves out the catalog."
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
