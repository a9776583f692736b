package fetch

import (
	"fmt"
	"slices"
	"strings"
)

// Set is a public data set and its files.
type Set struct {
	Name, About string
	Files       []File
	HowTo       string // how to obtain a set that needs an account
}

// File is one file of a set, stored under the last element of its URL.
type File struct {
	URL    string
	Size   int64  // bytes; 0: unknown
	SHA256 string // or
	MD5    string
}

// sets lists all sets that can be fetched, or how to obtain them. SHA-256 and sizes are those that TensorFlow Datasets checks
// (tensorflow_datasets/url_checksums), MD5 those of torchvision and of the set's own page.
var sets = []Set{
	{Name: "cifar10", About: "60,000 images of 32×32 in 10 classes (Krizhevsky 2009), binary version", Files: []File{
		{URL: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", Size: 170052171, SHA256: "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"},
	}},
	{Name: "cifar100", About: "60,000 images of 32×32 in 100 classes (Krizhevsky 2009), binary version", Files: []File{
		{URL: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz", Size: 168513733, SHA256: "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"},
	}},
	{Name: "mnist", About: "70,000 handwritten digits of 28×28 (LeCun, Cortes and Burges), from the mirror of PyTorch", Files: []File{
		{URL: "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz", Size: 9912422, SHA256: "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"},
		{URL: "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz", Size: 28881, SHA256: "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"},
		{URL: "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz", Size: 1648877, SHA256: "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"},
		{URL: "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz", Size: 4542, SHA256: "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"},
	}},
	{Name: "fashion-mnist", About: "70,000 articles of clothing of 28×28 in 10 classes (Xiao, Rasul and Vollgraf 2017)", Files: []File{
		{URL: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz", Size: 26421880, SHA256: "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"},
		{URL: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz", Size: 29515, SHA256: "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"},
		{URL: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz", Size: 4422102, SHA256: "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"},
		{URL: "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz", Size: 5148, SHA256: "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"},
	}},
	{Name: "kmnist", About: "70,000 Kuzushiji characters of 28×28 in 10 classes (Clanuwat et al. 2018)", Files: []File{
		{URL: "http://codh.rois.ac.jp/kmnist/dataset/kmnist/train-images-idx3-ubyte.gz", Size: 18165135, SHA256: "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4"},
		{URL: "http://codh.rois.ac.jp/kmnist/dataset/kmnist/train-labels-idx1-ubyte.gz", Size: 29497, SHA256: "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17"},
		{URL: "http://codh.rois.ac.jp/kmnist/dataset/kmnist/t10k-images-idx3-ubyte.gz", Size: 3041136, SHA256: "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5"},
		{URL: "http://codh.rois.ac.jp/kmnist/dataset/kmnist/t10k-labels-idx1-ubyte.gz", Size: 5120, SHA256: "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c"},
	}},
	{Name: "stl10", About: "13,000 labelled images of 96×96 in 10 classes, and 100,000 without labels (Coates, Lee and Ng 2011)", Files: []File{
		{URL: "http://ai.stanford.edu/~acoates/stl10/stl10_binary.tar.gz", Size: 2640397119, SHA256: "f31fd99273a1acb8609c8db427cebb1de3f71de77758cdc0e22956e1289b9866"},
	}},
	{Name: "caltech256", About: "30,607 images of any size in 257 classes (Griffin, Holub and Perona 2007)", Files: []File{
		{URL: "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar", MD5: "67b4f42ca05d46448c6bb8ecd2220f6d"},
	}},
	{Name: "sun397", About: "108,754 images of any size in 397 classes of scenes (Xiao et al. 2010)", Files: []File{
		{URL: "https://vision.princeton.edu/projects/2010/SUN/SUN397.tar.gz", Size: 39077296924, SHA256: "f404130965a7ad77bed5ececc71e720ab50f3cc1e1bb257257610d38f3b928ec"},
	}},
	{Name: "imagenet", About: "1,281,167 and 50,000 images of any size in 1,000 classes (Russakovsky et al. 2015)",
		HowTo: "it is given out for research to those who agree to its terms: register at https://image-net.org/download.php, download ILSVRC2012_img_train.tar and " +
			"ILSVRC2012_img_val.tar, and unpack them as train/nNNNNNNNN/*.JPEG and val/nNNNNNNNN/*.JPEG"},
	{Name: "imagenet100", About: "100 of ImageNet's classes (Tian, Krishnan and Isola 2019)",
		HowTo: "it is a part of ImageNet, which needs an account (lte data fetch imagenet says how): unpack that, and name a file with the 100 class folders as data.classes"},
}

// Names returns the names of all sets.
func Names() (names []string) {
	for _, s := range sets {
		names = append(names, s.Name)
	}
	return names
}

// Lookup returns the set of a name; the error lists the names, or says how to obtain a set that cannot be fetched.
func Lookup(name string) (Set, error) {
	i := slices.IndexFunc(sets, func(s Set) bool { return s.Name == name })
	if i < 0 {
		return Set{}, fmt.Errorf("unknown set %q: expected one of %s", name, strings.Join(Names(), ", "))
	}
	if s := sets[i]; s.HowTo != "" {
		return s, fmt.Errorf("%s cannot be fetched, as %s", name, s.HowTo)
	}
	return sets[i], nil
}
