"""One character by swap, edit and LoRA over the same scenes and seeds: which way is the right one?

`likeness.ways.run.compare_ways` draws and measures a `likeness.ways.plan.WaysPlan`, `likeness.ways.sheet.contact_sheet`
shows what came of it. Those two modules want Pillow, the extra ``compare``; `plan` and `result` do without.
"""
