package cli

import (
	"fmt"
	"runtime"

	"lte/compute"
	"lte/mpi"
)

// versionCommand is lte version.
type versionCommand struct{}

// Run prints what this program is built of.
func (versionCommand) Run(p *process) error {
	_, err := fmt.Fprintf(p.stdout, "lte %s\nMPI: %s\ncompute: %s\nCPU: %s, %s\n", p.Version, mpi.Library(), compute.Describe(), runtime.GOARCH, compute.Features())
	return err
}
