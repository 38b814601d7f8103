"""IAM and STS: keys, roles, and the policies that are enforced."""
