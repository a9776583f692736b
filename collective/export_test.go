package collective

// MeasureBy is for tests that have a clock of their own.
var MeasureBy = measureBy
