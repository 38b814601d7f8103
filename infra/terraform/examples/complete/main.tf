# A lake with two DynamoDB tables. Airflow also runs the DAGs; docs/terraform.md says what each of them does.

locals {
  tags = { team = "data" }

  # Other settings have the defaults of dynalake_setup's trigger form.
  tables = {
    RECEIPTS = {}
    payments = {
      delivery             = "direct"
      buffer_seconds       = 120
      updated_at_attribute = "modified"
    }
  }
}

# The tables exist, with their streams on. For a table that Terraform makes, use
# aws_dynamodb_table.receipts.stream_arn (stream_enabled = true, stream_view_type = "NEW_AND_OLD_IMAGES").
data "aws_dynamodb_table" "source" {
  for_each = local.tables

  name = each.key
}

module "airflow" {
  source = "../../modules/airflow"

  environment            = var.environment
  trusted_principal_arns = [var.airflow_worker_role_arn]
  tags                   = local.tags
}

module "storage" {
  source = "../../modules/storage"

  environment              = var.environment
  raw_retention_days       = 400
  deploy_role_arn          = module.airflow.deploy_role_arn
  permissions_boundary_arn = module.airflow.permissions_boundary_arn
  tags                     = local.tags
}

module "forwarder" {
  source = "../../modules/forwarder"

  lake      = module.storage.lake
  memory_mb = 1024
  tags      = local.tags
}

module "table" {
  source   = "../../modules/table"
  for_each = local.tables

  lake             = module.storage.lake
  function_arn     = module.forwarder.function_arn
  table            = each.key
  table_stream_arn = data.aws_dynamodb_table.source[each.key].stream_arn

  delivery             = try(each.value.delivery, null)
  buffer_seconds       = try(each.value.buffer_seconds, null)
  updated_at_attribute = try(each.value.updated_at_attribute, null)
  tags                 = local.tags
}

# For tables that are too large for one Airflow worker; a lake without them does not need it.
module "spark" {
  source = "../../modules/spark"

  lake          = module.storage.lake
  dag_role_name = module.airflow.dag_role_name
  tags          = local.tags
}

# If Redshift also reads the tables: attach its role to the cluster or the serverless namespace.
module "redshift" {
  source = "../../modules/redshift"

  lake = module.storage.lake
  tags = local.tags
}
