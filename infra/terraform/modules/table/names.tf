# Built as in plugins/dynalake/names.py: names that AWS does not take, or that are too long, end in a hash of the whole.

locals {
  name_rules = {
    stack           = { prefix = "${var.lake.stack_prefix}-table-", length = 128, not_allowed = "/[^a-zA-Z0-9-]/" }
    stream          = { prefix = "${var.lake.stream_prefix}-", length = 128, not_allowed = "/[^a-zA-Z0-9_.-]/" }
    delivery_stream = { prefix = "${var.lake.stream_prefix}-", length = 64, not_allowed = "/[^a-zA-Z0-9_.-]/" }
    direct_stream   = { prefix = "${var.lake.stream_prefix}.direct-", length = 64, not_allowed = "/[^a-zA-Z0-9_.-]/" }
  }

  looks_shortened = can(regex("[-_][0-9a-f]{12}$", var.table))

  names = {
    for kind, rule in local.name_rules : kind => (
      local.looks_shortened || replace(var.table, rule.not_allowed, "-") != var.table || length(rule.prefix) + length(var.table) > rule.length
      ? "${rule.prefix}${substr(replace(var.table, rule.not_allowed, "-"), 0, rule.length - length(rule.prefix) - 13)}-${substr(sha256(var.table), 0, 12)}"
      : "${rule.prefix}${var.table}"
    )
  }

  settings_path = "/dynalake/${var.lake.environment}/tables"
}
