output "mapping_id" {
  description = "The UUID of the event source mapping."
  value       = aws_cloudformation_stack.this.outputs["MappingId"]
}

output "settings_parameter" {
  description = "The SSM parameter that holds the table's settings."
  value       = "${local.settings_path}/${var.table}"
}

output "stream_name" {
  description = "The Kinesis stream, which other consumers may read too; empty with delivery `direct`."
  value       = var.delivery == "kinesis" ? local.names.stream : ""
}

output "setup_conf" {
  description = "Parameters for dynalake_setup, which finds the stacks as they should be, proves that changes arrive, registers the table in the catalog and starts the backfill."
  value       = jsonencode(merge(local.settings, { environment = var.lake.environment }))
}
