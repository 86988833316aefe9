"""What the gateways of one cell share: who has the brain, its log and snapshots, tenants' counters, response ids."""
