output "dag_role_arn" {
  description = "For role_arn in the extra of Airflow's AWS connection."
  value       = module.airflow.dag_role_arn
}

output "setup_conf" {
  description = "Parameters for dynalake_setup, by table."
  value       = { for name, table in module.table : name => table.setup_conf }
}

output "database_name" {
  description = "The Glue database in which the tables can be queried."
  value       = module.storage.database_name
}

output "spectrum_role_arn" {
  description = "For IAM_ROLE in Redshift's CREATE EXTERNAL SCHEMA."
  value       = module.redshift.spectrum_role_arn
}
