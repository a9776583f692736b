// Package config holds the complete description of a run: every key, its default, its unit and its meaning, in one
// place. A configuration is read from TOML, changed by key=value settings, checked, and printed back as TOML that
// repeats the run.
//
// The struct tags are the one source of what a key is called, allows and means: toml names it, enum lists its values,
// min, above and below bound it, unit and doc explain it. Reading, checking, printing and help all go through them.
//
// What depends on the data or the model (a rank larger than a layer, a patch larger than an image) is checked where
// the model is built, in package train; this package checks what a key allows by itself and beside other keys.
package config

// Config is a run. The doc tags are the text of `lte train --help` and of the comments of `lte config`.
type Config struct {
	Method string `toml:"method" enum:"lte,full" doc:"training method: lte (parallel low-rank heads, merged every lte.merge_every steps) or full (standard pre-training, gradients averaged every step)"`
	Seed   uint64 `toml:"seed" doc:"seed of every random stream: split, initialisation, order, augmentation"`

	Run       Run       `toml:"run"`
	Data      Data      `toml:"data"`
	Model     Model     `toml:"model"`
	LTE       LTE       `toml:"lte"`
	Train     Train     `toml:"train"`
	Optimizer Optimizer `toml:"optimizer"`
	Schedule  Schedule  `toml:"schedule"`
	Compute   Compute   `toml:"compute"`
}

// Run says where a run writes and how often it reports.
type Run struct {
	Dir       string `toml:"dir" doc:"run directory; empty: runs/METHOD-DATASET-TIME. A directory that holds a run is refused"`
	LogEvery  int    `toml:"log_every" min:"1" unit:"steps" doc:"steps between lines of metrics.jsonl; logged at the next merge"`
	EvalEvery int    `toml:"eval_every" min:"0" unit:"steps" doc:"steps between evaluations on the test split, held at the next merge; 0: only at the end"`
}

// Data says what is learnt from.
type Data struct {
	Name    string  `toml:"name" enum:"digits" doc:"data set: digits (1,797 images of 8×8 in 10 classes, embedded)"`
	Augment bool    `toml:"augment" doc:"augment training images with a random affine map"`
	Rotate  float64 `toml:"rotate" min:"0" unit:"degrees" doc:"largest rotation either way"`
	Shift   float64 `toml:"shift" min:"0" unit:"pixels" doc:"largest translation either way, per axis"`
	Scale   float64 `toml:"scale" min:"0" below:"1" doc:"largest relative change of size either way, per axis (0.1: 0.9 to 1.1)"`
	Shear   float64 `toml:"shear" min:"0" below:"90" unit:"degrees" doc:"largest shear either way"`
}

// Model says what is trained: a vision transformer after torchvision's VisionTransformer.
type Model struct {
	Preset     string `toml:"preset" enum:",vit-t/16,vit-t/32,vit-s/16,vit-s/32,vit-b/16,vit-b/32,vit-l/16,vit-l/32" doc:"named scale that sets patch, depth, width, mlp and heads; empty: the keys below"`
	Patch      int    `toml:"patch" min:"1" unit:"pixels" doc:"side of a square patch; divides the image's sides"`
	Depth      int    `toml:"depth" min:"1" doc:"transformer blocks"`
	Width      int    `toml:"width" min:"1" doc:"embedding width; a multiple of model.heads"`
	MLP        int    `toml:"mlp" min:"1" doc:"hidden width of a block's MLP"`
	Heads      int    `toml:"heads" min:"1" doc:"attention heads"`
	Positions  string `toml:"positions" enum:"learned,sincos" doc:"position embedding: sincos (fixed 2-D sinusoids) or learned (normal 0.02; trained by full, frozen by lte: then little but noise)"`
	NormAffine bool   `toml:"norm_affine" doc:"LayerNorm has scale and shift: trained by full, frozen by lte"`
}

// LTE holds the low-rank heads and their merge; read by method lte.
type LTE struct {
	Rank       int     `toml:"rank" min:"1" doc:"rank r of every head's factors; at most model.width and model.mlp"`
	Alpha      float64 `toml:"alpha" min:"0" doc:"LoRA alpha; the scaling is s = alpha/rank. 0: 32 times the number of heads, as a merge takes the mean of all heads"`
	Init       string  `toml:"init" enum:"orthogonal,kaiming" doc:"initialisation of A: semi-orthogonal times sqrt(n/r), or kaiming uniform"`
	MergeEvery int     `toml:"merge_every" min:"1" unit:"steps" doc:"local steps K between merges"`
}

// Resolve fills in what depends on the number of heads: config.toml is to say what was run.
func (c *Config) Resolve(heads int) {
	if c.LTE.Alpha == 0 {
		c.LTE.Alpha = 32 * float64(heads)
	}
}

// Train says how long and on what batches.
type Train struct {
	Steps          int     `toml:"steps" min:"1" doc:"optimizer steps of each head (lte) or of the one model (full)"`
	Batch          int     `toml:"batch" min:"1" unit:"images" doc:"mini-batch of one rank and step"`
	EvalBatch      int     `toml:"eval_batch" min:"1" unit:"images" doc:"mini-batch of one rank in evaluation"`
	LabelSmoothing float64 `toml:"label_smoothing" min:"0" below:"1" doc:"label smoothing of the cross-entropy"`
}

// Optimizer says how gradients move parameters.
type Optimizer struct {
	Name        string  `toml:"name" enum:"adamw,sgd" doc:"adamw (decoupled decay) or sgd"`
	LR          float64 `toml:"lr" above:"0" doc:"peak learning rate"`
	Beta1       float64 `toml:"beta1" min:"0" below:"1" doc:"adamw: decay of the first moment"`
	Beta2       float64 `toml:"beta2" min:"0" below:"1" doc:"adamw: decay of the second moment"`
	Eps         float64 `toml:"eps" above:"0" doc:"adamw: term added to the denominator"`
	Momentum    float64 `toml:"momentum" min:"0" below:"1" doc:"sgd: momentum"`
	WeightDecay float64 `toml:"weight_decay" min:"0" doc:"weight decay: of the factors (lte), of the weight matrices (full)"`
	ClipNorm    float64 `toml:"clip_norm" min:"0" doc:"largest 2-norm of a step's gradient; 0: not clipped"`
}

// Schedule is the learning rate over time: linear warm-up, then cosine decay.
type Schedule struct {
	Warmup int     `toml:"warmup" min:"0" unit:"steps" doc:"linear warm-up"`
	MinLR  float64 `toml:"min_lr" min:"0" doc:"learning rate at the last step; at most optimizer.lr"`
}

// Compute says how the arithmetic is done.
type Compute struct {
	Backend string `toml:"backend" enum:"auto,onednn,gonum" doc:"back end: onednn, gonum (pure Go), or auto: the fastest that was built in"`
	DType   string `toml:"dtype" enum:"f32,bf16" doc:"precision in which matrix products read weights and activations: f32, or bf16 (back end onednn, CPUs with AVX512_BF16 or AMX); factors, moments, norms, softmax and merges are float32 always"`
	Threads int    `toml:"threads" min:"0" doc:"compute threads of a rank; 0: OMP_NUM_THREADS, else cores of the node / ranks on the node"`
}

// Default returns the built-in configuration: what `lte` without arguments trains.
func Default() Config {
	return Config{
		Method: "lte",
		Seed:   1,
		Run:    Run{LogEvery: 20, EvalEvery: 200},
		Data:   Data{Name: "digits", Augment: true, Rotate: 10, Shift: 0.5, Scale: 0.1, Shear: 5},
		Model:  Model{Patch: 2, Depth: 4, Width: 64, MLP: 256, Heads: 4, Positions: "sincos"},
		LTE:    LTE{Rank: 16, Init: "orthogonal", MergeEvery: 10},
		Train:  Train{Steps: 1600, Batch: 16, EvalBatch: 64, LabelSmoothing: 0.1},
		Optimizer: Optimizer{Name: "adamw", LR: 5e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Momentum: 0.9,
			WeightDecay: 0.01, ClipNorm: 1},
		Schedule: Schedule{Warmup: 80},
		Compute:  Compute{Backend: "auto", DType: "f32"},
	}
}
