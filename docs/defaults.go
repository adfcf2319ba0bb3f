package main

import (
	"fmt"
	"reflect"
	"strings"

	"vestibule/configs"
)

// defaultOf gives the value that a key such as "timeouts.head" has when nothing
// is written, "" when that is nothing or not a single value.
func defaultOf(path string) string {
	value := reflect.ValueOf(configs.Default()).Elem()
	for key := range strings.SplitSeq(path, ".") {
		if value = byKey(value, key); !value.IsValid() {
			return ""
		}
	}
	switch value.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64:
		if !value.IsZero() {
			return fmt.Sprint(value.Interface())
		}
	}
	return ""
}

// byKey is the field with a key, invalid when there is none.
func byKey(value reflect.Value, key string) reflect.Value {
	if value.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	for i := range value.NumField() {
		if value.Type().Field(i).Tag.Get("yaml") == key {
			return value.Field(i)
		}
	}
	return reflect.Value{}
}
