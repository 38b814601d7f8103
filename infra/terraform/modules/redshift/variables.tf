variable "lake" {
  description = "The output `lake` of the storage module."
  nullable    = false
  type = object({
    environment              = string
    bucket_name              = string
    prefix                   = string
    stack_prefix             = string
    kms_key_arn              = string
    permissions_boundary_arn = string
  })
}

variable "tags" {
  description = "Tags for the stack and everything in it that takes tags."
  type        = map(string)
  default     = {}
  nullable    = false
}
