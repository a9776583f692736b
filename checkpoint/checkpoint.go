// Package checkpoint writes the state of a run to files, completely or not at all. The state is a list of named tensors, the run's memory
// itself; what they mean, when they are saved, and the agreement between ranks are the caller's (package train's) business.
//
//	checkpoints/step-000000120/shared.safetensors      a part: the state that is the same on all ranks
//	checkpoints/step-000000120/rank-00003.safetensors  a part: the state of rank 3 alone
//	checkpoints/step-000000120/manifest.json           written last: the parts, their sizes and checksums
//	checkpoints/latest, best                           links to such folders
//
// A folder is a checkpoint once it has its manifest. Every file is written under a temporary name, synced and renamed, and its folder
// synced, so that a process or a machine may stop at any moment and earlier checkpoints remain. Every tensor has a checksum, every file
// another one in the manifest, and the manifest its own.
//
// Sources: the safetensors format (huggingface/safetensors); XXH64 (xxhash.com); Pillai et al., All file systems are not
// created equal (OSDI 2014), for the order of writing, syncing and renaming.
package checkpoint

import (
	"fmt"
	"unsafe"

	"github.com/cespare/xxhash/v2"
	"github.com/nlpodyssey/safetensors"
)

// Tensor is a named piece of a run's memory, little-endian like every CPU that this program supports.
type Tensor struct {
	Name  string
	Type  safetensors.DType
	Bytes []byte // the memory itself
}

// Floats names a slice.
func Floats(name string, x []float32) Tensor {
	return Tensor{name, safetensors.F32, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))}
}

// Int names an integer.
func Int[T int | int64](name string, x *T) Tensor {
	return Tensor{name, safetensors.I64, unsafe.Slice((*byte)(unsafe.Pointer(x)), unsafe.Sizeof(*x))}
}

// Real names a float64.
func Real(name string, x *float64) Tensor {
	return Tensor{name, safetensors.F64, unsafe.Slice((*byte)(unsafe.Pointer(x)), unsafe.Sizeof(*x))}
}

// Snapshot copies tensors, into the memory of an earlier snapshot if it is large enough.
func Snapshot(into []byte, tensors []Tensor) (copies []Tensor, memory []byte) {
	total := 0
	for _, t := range tensors {
		total += len(t.Bytes)
	}
	if cap(into) < total {
		into = make([]byte, total)
	}
	memory, at := into[:total], 0
	for _, t := range tensors {
		n := copy(memory[at:], t.Bytes)
		copies = append(copies, Tensor{t.Name, t.Type, memory[at : at+n : at+n]})
		at += n
	}
	return copies, memory
}

// checksum is the XXH64 of bytes in the form of the files.
func checksum(b []byte) string { return hexadecimal(xxhash.Sum64(b)) }

func hexadecimal(sum uint64) string { return fmt.Sprintf("%016x", sum) }

// Reached is called between all steps of writing a checkpoint. It does nothing; tests of faults replace it by a function that ends the
// process.
var Reached = func(point string) {}
