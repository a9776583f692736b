// Command lte trains neural networks from scratch with parallel low-rank adapters (LoRA-the-Explorer, Huh et al. 2024,
// arXiv 2402.16828): every MPI rank trains one LoRA head alone, and at intervals all ranks merge their heads into the weights.
//
//	mpirun -np 8 lte
package main

import (
	"os"

	"lte/internal/cli"
)

// version is set by the Makefile from git.
var version = "devel"

func main() { os.Exit(cli.Run(version, os.Args[1:], os.Stdout, os.Stderr)) }
