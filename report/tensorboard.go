package report

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lte/internal/file"

	"google.golang.org/protobuf/encoding/protowire"
)

// eventFile is a TensorBoard event file: Event messages in TFRecord framing.
type eventFile struct{ f *os.File }

// scalar is one value of an event.
type scalar struct {
	tag   string
	value *float64
}

// newEventFile creates dir/events.out.tfevents.<unix seconds>.<host>.<pid>, the name that TensorBoard looks for.
func newEventFile(dir string, now time.Time) (*eventFile, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost" // only part of a file name
	}
	name := fmt.Sprintf("events.out.tfevents.%d.%s.%d", now.Unix(), strings.ReplaceAll(host, "/", "_"), os.Getpid())
	f, err := file.OpenOwn(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	e := &eventFile{f: f}
	if err := e.write(now, 0, eventFileVersion, []byte("brain.Event:2")); err != nil {
		f.Close()
		return nil, err
	}
	return e, nil
}

func (e *eventFile) close() error { return e.f.Close() }

// The field numbers of event.proto and summary.proto.
const (
	eventWallTime    protowire.Number = 1 // double, seconds since 1970
	eventStep        protowire.Number = 2 // int64
	eventFileVersion protowire.Number = 3 // string
	eventSummary     protowire.Number = 5 // Summary
	eventSession     protowire.Number = 7 // SessionLog
	sessionStatus    protowire.Number = 1 // enum
	summaryValue     protowire.Number = 1 // repeated Value
	valueTag         protowire.Number = 1 // string
	valueSimple      protowire.Number = 2 // float
)

// write appends an event: its time, its step unless that is 0, and one more field.
func (e *eventFile) write(now time.Time, step int64, field protowire.Number, payload []byte) error {
	b := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, math.Float64bits(float64(now.UnixNano())/1e9))
	if step != 0 {
		b = protowire.AppendTag(b, eventStep, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(step))
	}
	b = protowire.AppendTag(b, field, protowire.BytesType)
	_, err := e.f.Write(frame(protowire.AppendBytes(b, payload)))
	return err
}

func (e *eventFile) scalars(now time.Time, step int64, scalars []scalar) error {
	var summary []byte
	for _, s := range scalars {
		value := protowire.AppendTag(nil, valueTag, protowire.BytesType)
		value = protowire.AppendString(value, s.tag)
		value = protowire.AppendTag(value, valueSimple, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(*s.value)))
		summary = protowire.AppendTag(summary, summaryValue, protowire.BytesType)
		summary = protowire.AppendBytes(summary, value)
	}
	return e.write(now, step, eventSummary, summary)
}

// resumed makes TensorBoard drop the events of earlier files from that step on: SessionLog.START.
func (e *eventFile) resumed(now time.Time, step int64) error {
	const start = 1
	return e.write(now, step, eventSession, protowire.AppendVarint(protowire.AppendTag(nil, sessionStatus, protowire.VarintType), start))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame wraps data as a TFRecord:
//
//	uint64 length | uint32 masked crc32c of length | data | uint32 masked crc32c of data, little endian
func frame(data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, maskedCRC(data))
}

// maskedCRC is mask(crc) = ((crc >> 15) | (crc << 17)) + 0xa282ead8.
func maskedCRC(data []byte) uint32 {
	crc := crc32.Checksum(data, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}
