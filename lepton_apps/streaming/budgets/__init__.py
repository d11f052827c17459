"""Alert budgets: from what people can read a day to the thresholds that let so much through."""
