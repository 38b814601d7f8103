variable "environment" {
  description = "The lake's name. One lake per environment, account and region."
  type        = string
  default     = "prod"
}

variable "airflow_worker_role_arn" {
  description = "The role of Airflow's workers, which may take the DAGs' role."
  type        = string
}
