# The function's code, packed from the sources that this module comes with. Its key names the content, in the same way
# as plugins/dynalake/capture/stacks/package.py: dynalake_setup keeps the version that this stack names.

locals {
  plugins    = "${path.module}/../../../../plugins"
  lambda_src = "${path.module}/../../../../lambda_src"

  sources = merge(
    { for name in fileset(local.lambda_src, "forwarder/*.py") : name => "${local.lambda_src}/${name}" },
    { for name in fileset(local.plugins, "dynalake/{__init__,days,errors,names}.py") : name => "${local.plugins}/${name}" },
    { for name in fileset(local.plugins, "dynalake/record/*.py") : name => "${local.plugins}/${name}" },
  )
  digest   = sha256(join("", [for name, path in local.sources : "${filesha256(path)}  ${name}\n"]))
  code_key = "dynalake-code/forwarder-${substr(local.digest, 0, 16)}.zip"

  # "null" is the version that a bucket overwrites.
  code_version = aws_s3_object.code.version_id == "null" ? "" : try(coalesce(aws_s3_object.code.version_id), "")
}

data "archive_file" "code" {
  type             = "zip"
  output_path      = "${path.root}/.terraform/${local.code_key}"
  output_file_mode = "0644"

  dynamic "source" {
    for_each = local.sources

    content {
      content  = file(source.value)
      filename = source.key
    }
  }
}

resource "aws_s3_object" "code" {
  bucket             = var.lake.bucket_name
  key                = local.code_key
  source             = data.archive_file.code.output_path
  content_type       = "application/zip"
  checksum_algorithm = "SHA256"

  lifecycle {
    # The function moves to the new code before the old code is deleted.
    create_before_destroy = true
  }
}
