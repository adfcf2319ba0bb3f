// Command docs writes docs/configuration.md, the reference of vestibule.yaml,
// from the comments in configs. Run it from the root of the module,
// or with `make docs`.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	schemaFiles   = "configs/*.go"
	referenceFile = "docs/configuration.md"
)

func main() {
	if err := write(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("wrote", referenceFile)
}

func write() error {
	schema, err := readSchema(".")
	if err != nil {
		return err
	}
	page, err := reference(schema...)
	if err != nil {
		return err
	}
	return os.WriteFile(referenceFile, page, 0o644)
}

// readSchema returns the texts of the schema's files, below the root of the module.
func readSchema(root string) (schema [][]byte, err error) {
	files, err := filepath.Glob(filepath.Join(root, schemaFiles))
	if err != nil {
		return nil, fmt.Errorf("looking for the schema: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no %s (hint: run it from the root of the module)", schemaFiles)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading the schema: %w", err)
		}
		schema = append(schema, text)
	}
	return schema, nil
}
