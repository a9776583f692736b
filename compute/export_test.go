package compute

// EveryISA is everyISA for the tests outside the package.
var EveryISA = everyISA
