package merge

// Seconds is the time of a merge of that layer alone.
func (c Costs) Seconds(t Transport, f Factor) float64 { return c.calls(t) + c.work(t, f) }
