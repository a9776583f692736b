// Package record describes what a run records: the lines of metrics.jsonl and summary.json (docs/run-directory.md), their reading,
// checking and writing. Everything that trains a run or reads finished ones shares these types; the package imports neither.
package record

// Files of a run directory.
const (
	ConfigFile  = "config.toml" // a directory with this file holds a run
	MetricsFile = "metrics.jsonl"
	SummaryFile = "summary.json"
)

// Bytes counts the bytes of messages.
type Bytes struct {
	Sent     int64 `json:"sent"`
	Received int64 `json:"received"`
}

// Network is the measured speed of a network.
type Network struct {
	Latency   float64 `json:"latency"`   // seconds of an allgather of a few bytes
	Allgather float64 `json:"allgather"` // bytes per second that a rank sends in an allgather
	Alltoall  float64 `json:"alltoall"`  // bytes per second that a rank sends in an alltoall
}

// Traffic is the bytes that a rank sent and received, by purpose.
type Traffic struct {
	Merge      Bytes `json:"merge"`
	Gradients  Bytes `json:"gradients"`
	Evaluation Bytes `json:"evaluation"`
	Control    Bytes `json:"control"`
}

// Record is one line of metrics.jsonl: the state of a run after a step, or after a merge if the method merges.
type Record struct {
	Step            int      `json:"step"`                // steps done by each head
	Images          int64    `json:"images"`              // seen by all ranks together
	Seconds         float64  `json:"seconds"`             // wall time since the first step
	TrainLoss       float64  `json:"train_loss"`          // mean over the mini-batches of all ranks since the last record
	LR              float64  `json:"lr"`                  // learning rate of the last step
	ImagesPerSecond float64  `json:"images_per_second"`   // of all ranks, since the last record
	DataWait        float64  `json:"data_wait"`           // seconds that rank 0 waited for batches
	Merges          int      `json:"merges"`              // since the start
	BytesSent       int64    `json:"bytes_sent_per_rank"` // by rank 0, since the start
	Traffic         Traffic  `json:"traffic"`             // of rank 0, since the start
	MomentsCleared  int      `json:"moments_cleared"`     // nonzero optimizer moments that merges reset to 0, on rank 0
	TestTop1        *float64 `json:"test_top1,omitempty"` // accuracy, 0 to 1; on records after an evaluation
	TestLoss        *float64 `json:"test_loss,omitempty"`
	AverageTop1     *float64 `json:"ema_test_top1,omitempty"` // of the moving average of W, if ema.decay is not 0
	AverageLoss     *float64 `json:"ema_test_loss,omitempty"`
	GradientRank    *float64 `json:"gradient_rank,omitempty"` // on records after a measurement: mean effective rank of ∂L/∂W at the merged W
	UpdateRank      *float64 `json:"update_rank,omitempty"`   // of W − W⁰
	Alignment       *float64 `json:"alignment,omitempty"`     // mean |cosine| between the updates of two heads, if there are several
	Grassmann       *float64 `json:"grassmann,omitempty"`     // mean Grassmann distance between the row spaces of two heads' A, 0 to 1
	GradientNorm    *float64 `json:"gradient_norm,omitempty"` // ‖∂L/∂W‖ over all measured layers
	UpdateNorm      *float64 `json:"update_norm,omitempty"`   // ‖W − W⁰‖
	WeightNorm      *float64 `json:"weight_norm,omitempty"`   // ‖W‖
}

// Summary is summary.json: one finished run. The keys are stable; docs/run-directory.md describes each.
type Summary struct {
	Method           string              `json:"method"`
	Model            string              `json:"model"` // such as "vit-64x4/2": width × depth / patch, or the preset
	Dataset          string              `json:"dataset"`
	Ranks            int                 `json:"ranks"`
	Heads            int                 `json:"heads"` // LoRA heads of all ranks; 0 if the method has none
	LoRARank         int                 `json:"lora_rank"`
	LoRAAlpha        float64             `json:"lora_alpha"`
	MergeEvery       int                 `json:"merge_every"`
	Wire             string              `json:"wire"`
	Transports       map[string][]string `json:"transports,omitempty"` // lte: layer names by transport
	Network          *Network            `json:"network,omitempty"`    // as measured to choose the transports
	Steps            int                 `json:"steps"`
	Merges           int                 `json:"merges"`
	MomentsCleared   int                 `json:"moments_cleared"` // nonzero optimizer moments that merges reset to 0, on rank 0
	Images           int64               `json:"images"`
	Seconds          float64             `json:"seconds"` // wall time of training, evaluation included
	ImagesPerSecond  float64             `json:"images_per_second"`
	DataWait         float64             `json:"data_wait"` // seconds that rank 0 waited for batches
	TestTop1         float64             `json:"test_top1"`
	TestLoss         float64             `json:"test_loss"`
	AverageTop1      *float64            `json:"ema_test_top1,omitempty"` // of the moving average of W, if ema.decay is not 0
	AverageLoss      *float64            `json:"ema_test_loss,omitempty"`
	TrainLoss        float64             `json:"train_loss"`          // of the last record
	BytesSentPerRank int64               `json:"bytes_sent_per_rank"` // as handed to MPI
	Traffic          Traffic             `json:"traffic"`             // of rank 0
	DDPBytesPerRank  int64               `json:"ddp_bytes_per_rank"`  // of a ring allreduce of float32 gradients over as many steps
	PeakMemory       int64               `json:"peak_memory"`         // bytes: largest resident set size of rank 0
	WeightsDigest    string              `json:"weights_digest"`      // of every exported weight
	Parameters       int64               `json:"parameters"`          // of the model
	Trained          int64               `json:"parameters_trained"`  // on one rank
	Seed             uint64              `json:"seed"`
	Threads          int                 `json:"threads"` // compute threads of a rank
	Backend          string              `json:"backend"`
	MPI              string              `json:"mpi"`
	Version          string              `json:"version"`
}

// Observer follows a run on rank 0.
type Observer interface {
	// Progress is called after every step and must be cheap.
	Progress(step int, loss float64)
	// Record is called every run.log_every steps and after every evaluation and measurement. An error ends the run.
	Record(Record) error
	// Note receives information for the user, before the first step.
	Note(text string)
	// Warn receives problems that do not end the run.
	Warn(text string)
}
