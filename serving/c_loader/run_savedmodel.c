/* Loads an exported SavedModel and runs one call of it, through TensorFlow's C API alone: no Python.
 *
 *   run_savedmodel EXPORT_FOLDER CALL_FILE
 *
 * CALL_FILE is text: one line a tensor, blank-separated.
 *   in  GRAPH_NAME INDEX TYPE RANK DIM... RAW_FILE     TYPE: float | double | int32 | string; RAW_FILE: its values, row-
 *                                                      major, in this machine's byte order; a NUL behind each string
 *   out GRAPH_NAME INDEX
 * Graph names come from `saved_model_cli show` or serving.export_savedmodel.graph_names. Each output is printed as
 * one line of numbers. Any failure prints its reason and exits with 1.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>
#include <tensorflow/c/tf_tstring.h>

enum { MAX_TENSORS = 1024, MAX_RANK = 8, NAME = 512, TEXT = 65536 };

static void fail(const char *what, const char *detail) {
  fprintf(stderr, "run_savedmodel: %s: %s\n", what, detail);
  exit(1);
}

static TF_Output find(TF_Graph *graph, const char *name, int index) {
  TF_Output output = {TF_GraphOperationByName(graph, name), index};
  if (output.oper == NULL) fail("the graph has no operation", name);
  return output;
}

static TF_DataType kind_of(const char *type) {
  if (strcmp(type, "float") == 0) return TF_FLOAT;
  if (strcmp(type, "double") == 0) return TF_DOUBLE;
  if (strcmp(type, "int32") == 0) return TF_INT32;
  if (strcmp(type, "string") != 0) fail("unknown type", type);
  return TF_STRING;
}

static void read_strings(FILE *raw, TF_TString *strings, int64_t count, const char *path) {
  static char text[TEXT];
  for (int64_t i = 0; i < count; i++) {
    size_t length = 0;
    int byte;
    while ((byte = fgetc(raw)) != 0) {
      if (byte == EOF) fail("too short", path);
      if (length == TEXT) fail("too long a string", path);
      text[length++] = (char)byte;
    }
    TF_StringInit(&strings[i]);
    TF_StringCopy(&strings[i], text, length);
  }
}

static TF_Tensor *read_tensor(FILE *call) {
  char type[16], path[NAME];
  int rank;
  int64_t dims[MAX_RANK], count = 1;
  if (fscanf(call, "%15s %d", type, &rank) != 2 || rank < 0 || rank > MAX_RANK) fail("malformed call", type);
  for (int i = 0; i < rank; i++) {
    long long dim;
    if (fscanf(call, "%lld", &dim) != 1 || dim < 0) fail("malformed call", "dimension");
    dims[i] = dim;
    count *= dim;
  }
  if (fscanf(call, "%511s", path) != 1) fail("malformed call", "raw file");
  TF_DataType kind = kind_of(type);
  size_t bytes = (size_t)count * (kind == TF_STRING ? sizeof(TF_TString) : TF_DataTypeSize(kind));
  TF_Tensor *tensor = TF_AllocateTensor(kind, dims, rank, bytes);
  FILE *raw = fopen(path, "rb");
  if (raw == NULL) fail("cannot open", path);
  if (kind == TF_STRING) read_strings(raw, TF_TensorData(tensor), count, path);
  else if (fread(TF_TensorData(tensor), 1, bytes, raw) != bytes) fail("too short", path);
  fclose(raw);
  return tensor;
}

static void print_tensor(const TF_Tensor *tensor) {
  if (TF_TensorType(tensor) != TF_DOUBLE) fail("an output is not double", "");
  const double *values = TF_TensorData(tensor);
  size_t count = TF_TensorByteSize(tensor) / sizeof(double);
  for (size_t i = 0; i < count; i++) printf(i ? " %.17g" : "%.17g", values[i]);
  printf("\n");
}

int main(int argc, char **argv) {
  if (argc != 3) fail("usage", "run_savedmodel EXPORT_FOLDER CALL_FILE");
  TF_Status *status = TF_NewStatus();
  TF_Graph *graph = TF_NewGraph();
  TF_SessionOptions *options = TF_NewSessionOptions();
  const char *tags[] = {"serve"};
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, NULL, status);
  if (TF_GetCode(status) != TF_OK) fail("cannot load the export", TF_Message(status));

  FILE *call = fopen(argv[2], "r");
  if (call == NULL) fail("cannot open", argv[2]);
  TF_Output inputs[MAX_TENSORS], outputs[MAX_TENSORS];
  TF_Tensor *given[MAX_TENSORS], *answers[MAX_TENSORS];
  int n_inputs = 0, n_outputs = 0, index;
  char way[8], name[NAME];
  while (fscanf(call, "%7s %511s %d", way, name, &index) == 3) {
    if (n_inputs == MAX_TENSORS || n_outputs == MAX_TENSORS) fail("too many tensors", name);
    if (strcmp(way, "in") == 0) {
      inputs[n_inputs] = find(graph, name, index);
      given[n_inputs++] = read_tensor(call);
    } else {
      outputs[n_outputs++] = find(graph, name, index);
    }
  }
  fclose(call);

  TF_SessionRun(session, NULL, inputs, given, n_inputs, outputs, answers, n_outputs, NULL, 0, NULL, status);
  if (TF_GetCode(status) != TF_OK) fail("the call failed", TF_Message(status));
  for (int i = 0; i < n_outputs; i++) print_tensor(answers[i]);

  for (int i = 0; i < n_inputs; i++) TF_DeleteTensor(given[i]);
  for (int i = 0; i < n_outputs; i++) TF_DeleteTensor(answers[i]);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
