# What the trigger form of dynalake_setup calls these, with the same defaults and limits.

variable "owner" {
  description = "Who answers for the table: a team or a person, such as `checkout`. The page shows the owner and filters by it, and messages of the watch name it."
  type        = string
  default     = ""
  nullable    = false
}

variable "delivery" {
  description = "`kinesis`: Lambda → Kinesis → Firehose, so that other consumers can read the changes too. `direct`: Lambda → Firehose, cheaper."
  type        = string
  default     = "kinesis"
  nullable    = false

  validation {
    condition     = contains(["kinesis", "direct"], var.delivery)
    error_message = "delivery is one of kinesis, direct."
  }
}

variable "stream_mode" {
  description = "How the Kinesis stream is billed. `provisioned`: by its `shards`. `on_demand`: by its traffic, on top of about $29 a month; an account may have 50 such streams in a region."
  type        = string
  default     = "provisioned"
  nullable    = false

  validation {
    condition     = contains(["provisioned", "on_demand"], var.stream_mode)
    error_message = "stream_mode is one of provisioned, on_demand."
  }
}

variable "shards" {
  description = "Shards of a provisioned Kinesis stream; each takes 1 MB a second. AWS at most doubles or halves them at once. dynalake_setup with `dry_run` says how many the table's peak needs."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.shards >= 1 && var.shards <= 500 && floor(var.shards) == var.shards
    error_message = "shards is a whole number from 1 to 500."
  }
}

variable "stream_retention_hours" {
  description = "How long Kinesis keeps records, in hours."
  type        = number
  default     = 24
  nullable    = false

  validation {
    condition     = var.stream_retention_hours >= 24 && var.stream_retention_hours <= 8760 && floor(var.stream_retention_hours) == var.stream_retention_hours
    error_message = "stream_retention_hours is a whole number from 24 to 8760."
  }
}

variable "buffer_seconds" {
  description = "Firehose writes an object after this many seconds, or after `buffer_mb`, whichever comes first."
  type        = number
  default     = 60
  nullable    = false

  validation {
    condition     = var.buffer_seconds >= 0 && var.buffer_seconds <= 900 && floor(var.buffer_seconds) == var.buffer_seconds
    error_message = "buffer_seconds is a whole number from 0 to 900."
  }
}

variable "buffer_mb" {
  description = "Firehose writes an object after this many MB, before compression."
  type        = number
  default     = 64
  nullable    = false

  validation {
    condition     = var.buffer_mb >= 1 && var.buffer_mb <= 128 && floor(var.buffer_mb) == var.buffer_mb
    error_message = "buffer_mb is a whole number from 1 to 128."
  }
}

variable "max_record_kb" {
  description = "The forwarder packs changes into records of up to this many KiB. A longer change becomes its own object in the raw zone: it bypasses Kinesis and Firehose, which takes no record of more than 1,000 KiB."
  type        = number
  default     = 1000
  nullable    = false

  validation {
    condition     = var.max_record_kb >= 5 && var.max_record_kb <= 1000 && floor(var.max_record_kb) == var.max_record_kb
    error_message = "max_record_kb is a whole number from 5 to 1000."
  }
}

variable "batch_size" {
  description = "The most changes per invocation of the forwarder."
  type        = number
  default     = 1000
  nullable    = false

  validation {
    condition     = var.batch_size >= 1 && var.batch_size <= 10000 && floor(var.batch_size) == var.batch_size
    error_message = "batch_size is a whole number from 1 to 10000."
  }
}

variable "batch_window_seconds" {
  description = "How long Lambda gathers changes before it invokes the forwarder; at least 1 if `batch_size` is over 10."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.batch_window_seconds >= 0 && var.batch_window_seconds <= 300 && floor(var.batch_window_seconds) == var.batch_window_seconds
    error_message = "batch_window_seconds is a whole number from 0 to 300."
  }
}

variable "parallelization" {
  description = "Concurrent invocations of the forwarder per shard of the table's stream."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.parallelization >= 1 && var.parallelization <= 10 && floor(var.parallelization) == var.parallelization
    error_message = "parallelization is a whole number from 1 to 10."
  }
}

variable "max_retries" {
  description = "How often a failing batch is retried (and split in two) before it goes to the on-failure destination; -1: until `max_record_age_seconds`."
  type        = number
  default     = -1
  nullable    = false

  validation {
    condition     = var.max_retries >= -1 && var.max_retries <= 10000 && floor(var.max_retries) == var.max_retries
    error_message = "max_retries is a whole number from -1 to 10000."
  }
}

variable "max_record_age_seconds" {
  description = "A change older than this goes to the on-failure destination, whether it was tried or not; a DynamoDB stream keeps changes for 86,400 seconds."
  type        = number
  default     = 86400
  nullable    = false

  validation {
    condition     = var.max_record_age_seconds >= 60 && var.max_record_age_seconds <= 86400 && floor(var.max_record_age_seconds) == var.max_record_age_seconds
    error_message = "max_record_age_seconds is a whole number from 60 to 86400."
  }
}

variable "updated_at_attribute" {
  description = "The attribute that says when an item was last written. The backfill filters by it where items have it."
  type        = string
  default     = "updatedAt"
  nullable    = false
}

variable "columns" {
  description = "Rules for the columns of attributes, as JSON: `never` lists attributes that get no column, `types` fixes the type of a column (`text`, `json`, `bigint`, `double`, `boolean`, `decimal(38,s)`), `names` sets its name. Values without a column are in `__other`."
  type        = string
  default     = ""
  nullable    = false
}

variable "schema_changes" {
  description = "`add`: columns come and become wider with the data. `tell`: the same, and the watch publishes each change. `refuse`: the columns stay as they are; values that do not fit wait in `__other` until you allow them."
  type        = string
  default     = "add"
  nullable    = false

  validation {
    condition     = contains(["add", "tell", "refuse"], var.schema_changes)
    error_message = "schema_changes is one of add, tell, refuse."
  }
}

variable "sort_by" {
  description = "The order of rows in compacted days: attributes as a JSON list, such as `[\"updatedAt\"]`, ascending, nulls last, and then the key. Empty: by key."
  type        = string
  default     = ""
  nullable    = false
}

variable "codec" {
  description = "Compression of Parquet files."
  type        = string
  default     = "zstd"
  nullable    = false

  validation {
    condition     = contains(["zstd", "snappy", "gzip"], var.codec)
    error_message = "codec is one of zstd, snappy, gzip."
  }
}

variable "part_mb" {
  description = "The target size of compacted files, in MB."
  type        = number
  default     = 256
  nullable    = false

  validation {
    condition     = var.part_mb >= 1 && var.part_mb <= 4096 && floor(var.part_mb) == var.part_mb
    error_message = "part_mb is a whole number from 1 to 4096."
  }
}

variable "orc_copy" {
  description = "Whether closed days are also written to `{t}_orc`, as ORC."
  type        = bool
  default     = false
  nullable    = false
}

variable "widen_budget_gb" {
  description = "The most GB of files that a night rewrites to change the types of columns."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.widen_budget_gb >= 0 && var.widen_budget_gb <= 100000 && floor(var.widen_budget_gb) == var.widen_budget_gb
    error_message = "widen_budget_gb is a whole number from 0 to 100000."
  }
}

variable "fold_at_percent" {
  description = "A night folds the newest changes into `{t}_state` when they exceed this percentage of its bytes."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.fold_at_percent >= 0 && var.fold_at_percent <= 100 && floor(var.fold_at_percent) == var.fold_at_percent
    error_message = "fold_at_percent is a whole number from 0 to 100."
  }
}

variable "fold_gb" {
  description = "Or when they exceed this many GB."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.fold_gb >= 0 && var.fold_gb <= 100000 && floor(var.fold_gb) == var.fold_gb
    error_message = "fold_gb is a whole number from 0 to 100000."
  }
}

variable "fold_every_hours" {
  description = "Or when the last fold was this many hours ago; 0: never for this reason. To fold more than once a day, schedule dynalake_compact that often."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.fold_every_hours >= 0 && var.fold_every_hours <= 8760 && floor(var.fold_every_hours) == var.fold_every_hours
    error_message = "fold_every_hours is a whole number from 0 to 8760."
  }
}

variable "snapshot_days" {
  description = "How many days a version of the tables can be read (`FOR VERSION AS OF`) and rolled back to."
  type        = number
  default     = 7
  nullable    = false

  validation {
    condition     = var.snapshot_days >= 1 && var.snapshot_days <= 365 && floor(var.snapshot_days) == var.snapshot_days
    error_message = "snapshot_days is a whole number from 1 to 365."
  }
}

variable "history_days" {
  description = "Days of `{t}` older than this are dropped once `{t}_state` has all their rows. 0: none; otherwise at least 31."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.history_days >= 0 && var.history_days <= 36500 && floor(var.history_days) == var.history_days
    error_message = "history_days is a whole number from 0 to 36500."
  }
}

variable "freshness_alarm_minutes" {
  description = "Alarm if the oldest change in Firehose is older than this; must be longer than `buffer_seconds`."
  type        = number
  default     = 15
  nullable    = false

  validation {
    condition     = var.freshness_alarm_minutes >= 1 && var.freshness_alarm_minutes <= 1440 && floor(var.freshness_alarm_minutes) == var.freshness_alarm_minutes
    error_message = "freshness_alarm_minutes is a whole number from 1 to 1440."
  }
}

variable "delivery_alarm_percent" {
  description = "Alarm if less than this percentage of Firehose's writes succeed, in three of five minutes."
  type        = number
  default     = 100
  nullable    = false

  validation {
    condition     = var.delivery_alarm_percent >= 1 && var.delivery_alarm_percent <= 100 && floor(var.delivery_alarm_percent) == var.delivery_alarm_percent
    error_message = "delivery_alarm_percent is a whole number from 1 to 100."
  }
}

variable "throttles_alarm_count" {
  description = "Alarm if more writes or reads of a stream than this are throttled within a minute, in three of five minutes."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.throttles_alarm_count >= 0 && var.throttles_alarm_count <= 1000000 && floor(var.throttles_alarm_count) == var.throttles_alarm_count
    error_message = "throttles_alarm_count is a whole number from 0 to 1000000."
  }
}

variable "failed_alarm_count" {
  description = "Alarm if more changes than this fail for good, or are rejected, within a minute."
  type        = number
  default     = 0
  nullable    = false

  validation {
    condition     = var.failed_alarm_count >= 0 && var.failed_alarm_count <= 1000000 && floor(var.failed_alarm_count) == var.failed_alarm_count
    error_message = "failed_alarm_count is a whole number from 0 to 1000000."
  }
}

variable "log_retention_days" {
  description = "How many days Firehose's log is kept."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days is one of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653."
  }
}
