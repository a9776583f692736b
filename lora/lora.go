// Package lora holds low-rank adapters of linear layers (Hu et al., arXiv 2106.09685) and heads, which are one adapter for each
// layer of a model (Huh et al., arXiv 2402.16828): the layout of their factors in one flat slice, their passes, and their
// cost. What ranks exchange and merge is left to others.
//
// Symbols: factors A (r, in) and B (out, r), scale s = α/r, main weight W (out, in); A' and B' are the factors at the last merge.
package lora
