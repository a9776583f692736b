// Package checkpoint keeps the state of a run in files, complete or not at all. State is a list of tensors by name, the memory
// itself; what they mean, when they are saved and who agrees with whom is the caller's (package train's) business.
//
//	checkpoints/step-000000120/shared.safetensors      a part: what all ranks hold alike
//	checkpoints/step-000000120/rank-00003.safetensors  a part: what rank 3 alone holds
//	checkpoints/step-000000120/manifest.json           last: the parts, their sizes and checksums
//	checkpoints/latest, best                           links to such folders
//
// A folder is a checkpoint once it has its manifest. Every file is written under a temporary name, brought to the disk,
// renamed, and the folder brought to the disk, so that a process or a machine may end at any instant and leave the checkpoints
// before. Every tensor has a checksum, every file another one in the manifest, and the manifest its own.
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

// Tensor is a stretch of a run's memory under a name, little endian as wherever this program is used.
type Tensor struct {
	Name  string
	Type  safetensors.DType
	Bytes []byte // the memory itself
}

// Floats is x under a name.
func Floats(name string, x []float32) Tensor {
	return Tensor{name, safetensors.F32, unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))}
}

// Int is the number at x under a name.
func Int[T int | int64](name string, x *T) Tensor {
	return Tensor{name, safetensors.I64, unsafe.Slice((*byte)(unsafe.Pointer(x)), unsafe.Sizeof(*x))}
}

// Real is the number at x under a name.
func Real(name string, x *float64) Tensor {
	return Tensor{name, safetensors.F64, unsafe.Slice((*byte)(unsafe.Pointer(x)), unsafe.Sizeof(*x))}
}

// Snapshot copies tensors, into memory of an earlier snapshot if that is given and large enough.
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

// Checksum is XXH64 of the tensor.
func (t Tensor) Checksum() string { return checksum(t.Bytes) }

// checksum is of bytes, as it is written in files.
func checksum(b []byte) string { return fmt.Sprintf("%016x", xxhash.Sum64(b)) }

// Reached is called at every point of writing a checkpoint that a process can end between. It does nothing; tests of faults
// put in its place what ends the process.
var Reached = func(point string) {}
