output "job_name" {
  description = "The Glue job, which dynalake_convert and dynalake_compact run with engine=spark or engine=auto."
  value       = aws_cloudformation_stack.this.outputs["JobName"]
}

output "job_role_arn" {
  description = "A job on Amazon EMR Serverless needs the same permissions."
  value       = aws_cloudformation_stack.this.outputs["JobRoleArn"]
}
