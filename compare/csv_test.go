package compare

import (
	"math"
	"strings"
	"testing"

	"lte/record"
)

// Fails if a column of the CSV files is missing, moved or filled from another number, or if a missing number is not empty.
func TestCSV(t *testing.T) {
	lte := made("lte", 3, 0.8125, "optimizer.lr=0.003", "lora.rank=4", "lora.alpha=32.5", "merge.every=5")
	lte.Summary.Heads, lte.Summary.PeakMemory, lte.Summary.Dataset = 8, 123456, "a, b"
	full := made("full", 7, 0.5, "lora.rank=4", "lora.alpha=32.5")
	full.Summary.Dataset, full.Summary.TestLoss, full.Summary.PeakMemory = "a, b", math.NaN(), 0
	full.Summary.Heads, full.Summary.LoRARank, full.Summary.LoRAAlpha, full.Summary.MergeEvery = 0, 0, 0, 0
	full.Records = []record.Record{{Step: 20, Images: 500, Seconds: 0.5, TrainLoss: math.NaN(), BytesSent: 9}}
	panels := Panels([]Run{lte, full})
	var got strings.Builder
	if err := writeResults(&got, panels); err != nil {
		t.Error(err)
	}
	if want := `run,method,seed,dataset,model,parameters,ranks,heads,rank,alpha,merge_every,lr,steps,images,test_top1,test_loss,train_loss,seconds,images_per_second,bytes_sent_per_rank,peak_memory,gradient_rank_first,gradient_rank_last,update_rank_last,alignment_largest,grassmann_last
full,full,7,"a, b",vit-64x4/2,64000,2,0,0,0,0,0.0005,40,1000,0.5,,0.5,8,125,4000000,,,,,,
lte,lte,3,"a, b",vit-64x4/2,64000,2,8,4,32.5,5,0.003,40,1000,0.8125,0.25,0.5,8,125,4000000,123456,10,20,7,0.03,0.8
`; got.String() != want {
		t.Errorf("\n got %s\nwant %s", got.String(), want)
	}
	got.Reset()
	if err := writeRecords(&got, panels); err != nil {
		t.Error(err)
	}
	if want := `run,dataset,model,seed,step,images,seconds,bytes_sent_per_rank,train_loss,test_top1,test_loss,gradient_rank,update_rank,alignment,grassmann
full,"a, b",vit-64x4/2,7,20,500,0.5,9,,,,,,,
lte,"a, b",vit-64x4/2,3,10,250,2,1000000,2,0.203125,1,40,5,0.03,0.9
lte,"a, b",vit-64x4/2,3,20,500,4,2000000,1.5,0.40625,0.75,10,6,0.01,0.85
lte,"a, b",vit-64x4/2,3,30,750,6,3000000,1.25,0.609375,0.625,15,8,0.02,0.95
lte,"a, b",vit-64x4/2,3,40,1000,8,4000000,0.75,0.8125,0.375,20,7,0.011,0.8
`; got.String() != want {
		t.Errorf("\n got %s\nwant %s", got.String(), want)
	}
}
