output "job_name" {
  description = "The Glue job, which dynalake_convert and dynalake_compact run with engine=spark or engine=auto."
  value       = aws_cloudformation_stack.this.outputs["JobName"]
}

output "job_role_arn" {
  description = "What the job may do is what a job on Amazon EMR Serverless needs, too."
  value       = aws_cloudformation_stack.this.outputs["JobRoleArn"]
}
