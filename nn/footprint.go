package nn

import "lte/compute"

// Footprint adds up the bytes of buffers, of layers without memory as of others. They are floats, which hold the product of any
// sizes that a configuration allows, and are exact up to 2^53.
type Footprint struct {
	Bytes   float64
	operand float64 // bytes of an element that products read
}

// NewFootprint returns an empty footprint, for operands of that type.
func NewFootprint(d compute.DType) *Footprint {
	if d == compute.BFloat16 {
		return &Footprint{operand: 2}
	}
	return &Footprint{operand: 4}
}

// Rounds says whether products read a rounded copy of what sums are made in.
func (f *Footprint) Rounds() bool { return f.operand != 4 }

// Floats adds n float32 elements.
func (f *Footprint) Floats(n float64) { f.Bytes += 4 * n }

// Operands adds n elements of operands.
func (f *Footprint) Operands(n float64) { f.Bytes += f.operand * n }

// OperandsIfRounded adds n elements of operands where products read a rounded copy.
func (f *Footprint) OperandsIfRounded(n float64) {
	if f.Rounds() {
		f.Operands(n)
	}
}
