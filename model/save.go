package model

import (
	"encoding/binary"
	"fmt"
	"io"

	"lte/internal/file"

	"github.com/nlpodyssey/safetensors"
)

// Save writes parameters as a safetensors file, complete or not at all. Names and shapes are
// torchvision's, or a mixer's timm's: load_state_dict of VisionTransformer or MlpMixer takes them strictly.
func Save(path string, parameters []Parameter) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("saving the model: %w", err)
		}
	}()
	tensors := make(map[string]safetensors.TensorView, len(parameters))
	for _, p := range parameters {
		values := make([]float32, p.Len())
		p.Value.CopyTo(values)
		bytes := make([]byte, 0, 4*len(values))
		if bytes, err = binary.Append(bytes, binary.LittleEndian, values); err != nil {
			return err
		}
		shape := make([]uint64, len(p.Shape))
		for i, n := range p.Shape {
			shape[i] = uint64(n)
		}
		if tensors[p.Name], err = safetensors.NewTensorView(safetensors.F32, shape, bytes); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return file.Write(path, func(w io.Writer) error {
		return safetensors.SerializeToWriter(tensors, map[string]string{"format": "pt"}, w)
	})
}
