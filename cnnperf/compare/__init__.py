"""Judge two records: is the new one slower or less accurate?"""
