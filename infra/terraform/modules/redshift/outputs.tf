output "spectrum_role_arn" {
  description = "The role for IAM_ROLE in CREATE EXTERNAL SCHEMA, attached to the cluster or the serverless namespace."
  value       = aws_cloudformation_stack.this.outputs["SpectrumRoleArn"]
}
