output "dag_role_arn" {
  description = "The DAGs' role, for role_arn in the extra of Airflow's AWS connection."
  value       = aws_cloudformation_stack.this.outputs["DagRoleArn"]
}

output "dag_role_name" {
  description = "The DAGs' role, for dag_role_name of the spark module."
  value       = element(split("/", aws_cloudformation_stack.this.outputs["DagRoleArn"]), 1)
}

output "deploy_role_arn" {
  description = "The role that CloudFormation deploys with, for deploy_role_arn of the storage module."
  value       = aws_cloudformation_stack.this.outputs["DeployRoleArn"]
}

output "permissions_boundary_arn" {
  description = "The policy that bounds the lake's roles, for permissions_boundary_arn of the storage module."
  value       = aws_cloudformation_stack.this.outputs["PermissionsBoundaryArn"]
}
