output "lake" {
  description = "The lake, as the modules forwarder and table take it."
  value = {
    environment              = var.environment
    bucket_name              = aws_cloudformation_stack.this.outputs["BucketName"]
    prefix                   = var.prefix
    time_zone                = local.time_zone
    stack_prefix             = local.stack_prefix
    stream_prefix            = local.stream_prefix
    firehose_role_arn        = aws_cloudformation_stack.this.outputs["FirehoseRoleArn"]
    topic_arn                = aws_cloudformation_stack.this.outputs["TopicArn"]
    kms_key_arn              = var.kms_key_arn
    permissions_boundary_arn = var.permissions_boundary_arn
    deploy_role_arn          = var.deploy_role_arn
  }
}

output "bucket_name" {
  description = "The bucket that holds the lake's data."
  value       = aws_cloudformation_stack.this.outputs["BucketName"]
}

output "firehose_role_arn" {
  description = "The role that Firehose delivers with."
  value       = aws_cloudformation_stack.this.outputs["FirehoseRoleArn"]
}

output "topic_arn" {
  description = "The topic that alarms go to."
  value       = aws_cloudformation_stack.this.outputs["TopicArn"]
}

output "kms_key_arn" {
  description = "The lake's KMS key; empty for none."
  value       = lookup(aws_cloudformation_stack.this.outputs, "KmsKeyArn", "")
}

output "permissions_boundary_arn" {
  description = "The policy that bounds the lake's roles; empty for none."
  value       = lookup(aws_cloudformation_stack.this.outputs, "PermissionsBoundaryArn", "")
}

output "deploy_role_arn" {
  description = "The role that CloudFormation uses to deploy the lake's stacks; empty for the caller's own."
  value       = lookup(aws_cloudformation_stack.this.outputs, "DeployRoleArn", "")
}

output "database_name" {
  description = "The Glue database."
  value       = aws_cloudformation_stack.this.outputs["DatabaseName"]
}

output "workgroup_name" {
  description = "The Athena workgroup."
  value       = aws_cloudformation_stack.this.outputs["WorkgroupName"]
}
