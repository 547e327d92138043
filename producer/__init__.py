"""The producer: opens campaigns, feeds the queue, and shows what there is to see."""
