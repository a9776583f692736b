package compute

import (
	"strings"

	"golang.org/x/sys/cpu"
)

// Features names the instruction-set extensions of this CPU that the products can use.
func Features() string {
	var names []string
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"AVX2", cpu.X86.HasAVX2}, {"FMA", cpu.X86.HasFMA}, {"AVX-512", cpu.X86.HasAVX512F && cpu.X86.HasAVX512VL},
		{"AVX512_BF16", cpu.X86.HasAVX512BF16}, {"AMX", cpu.X86.HasAMXTile}, {"AMX_BF16", cpu.X86.HasAMXBF16},
		{"ASIMD", cpu.ARM64.HasASIMD}, {"SVE", cpu.ARM64.HasSVE},
	} {
		if f.has {
			names = append(names, f.name)
		}
	}
	if names == nil {
		return "baseline"
	}
	return strings.Join(names, " ")
}

// hasBFloat16 says whether this CPU multiplies bfloat16 in hardware.
func hasBFloat16() bool { return cpu.X86.HasAVX512BF16 || cpu.X86.HasAMXBF16 }
