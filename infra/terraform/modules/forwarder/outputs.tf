output "function_arn" {
  description = "The Lambda function."
  value       = aws_cloudformation_stack.this.outputs["FunctionArn"]
}

output "code_key" {
  description = "The key of the function's code in the lake's bucket; it names the content."
  value       = aws_s3_object.code.key
}
