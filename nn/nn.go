// Package nn holds the layers of networks, each an explicit forward and backward pass: Linear, LayerNorm, MLP, dropout and
// residual branches; the initialization of weights; and the loss. A layer owns the buffers of its passes: one goroutine. Arithmetic
// is left to package compute, what a network is made of to model, and low-rank adapters to lora.
package nn
