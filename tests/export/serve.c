/* Serves one SavedModel without Python, as TensorFlow Serving does: the same loader, tag `serve`, XLA switched off.

   serve SAVED_MODEL_DIR < requests > answers

   request:  SIGNATURE NUM_INPUTS\n   and as many tensors
   answer:   ok NUM_OUTPUTS\n         and as many tensors, or
             error NUM_BYTES\n        and the message
   tensor:   NAME DTYPE RANK SIZE...\n  and its elements, row by row, in the byte order of the machine;
             DTYPE is TensorFlow's number; of a string come its length, 8 bytes, and its bytes

   It goes on until the requests end, and leaves with code 1 where the model does not load or a request makes no sense. */

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tensorflow/c/c_api.h"

/* tensorflow::DisableXlaCompilation(), which the stock server calls when it starts. */
void disable_xla(void) __asm__("_ZN10tensorflow21DisableXlaCompilationEv");

enum { MOST = 16, LONGEST = 512 }; /* tensors of a signature, ranks; bytes of a name or of a line */

static void stop(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

/* --- Protocol buffers: enough of them to find a signature in a MetaGraphDef ------------------------------------- */

typedef struct {
  const unsigned char *at, *end;
} Message;

static uint64_t read_varint(Message *m) {
  uint64_t value = 0;
  for (int shift = 0; m->at < m->end; shift += 7) {
    unsigned char byte = *m->at++;
    value |= (uint64_t)(byte & 127) << shift;
    if (byte < 128) return value;
  }
  stop("the MetaGraphDef is damaged");
  return 0;
}

/* Number of the next field that has bytes, which go into `value`; 0 at the end. */
static int next_field(Message *m, Message *value) {
  while (m->at < m->end) {
    uint64_t tag = read_varint(m);
    size_t size = 0;
    switch (tag & 7) {
      case 0: read_varint(m); continue;
      case 1: m->at += 8; continue;
      case 2: size = read_varint(m); break;
      case 5: m->at += 4; continue;
      default: stop("the MetaGraphDef is damaged");
    }
    value->at = m->at;
    value->end = m->at += size;
    return (int)(tag >> 3);
  }
  return 0;
}

/* The next entry of the map that is field `number`: its key, and its value. 0 at the end. */
static int next_entry(Message *m, int number, char *key, Message *value) {
  Message entry, part;
  for (int found; (found = next_field(m, &entry));) {
    if (found != number) continue;
    for (int field; (field = next_field(&entry, &part));) {
      if (field == 2) *value = part;
      if (field == 1) snprintf(key, LONGEST, "%.*s", (int)(part.end - part.at), (const char *)part.at);
    }
    return 1;
  }
  return 0;
}

static int find_entry(Message m, int number, const char *key, Message *value) {
  char found[LONGEST];
  while (next_entry(&m, number, found, value))
    if (!strcmp(found, key)) return 1;
  return 0;
}

/* The end of an edge that a TensorInfo names, "operation:0". */
static TF_Output find_output(TF_Graph *graph, Message tensor_info) {
  Message name;
  char text[LONGEST];
  TF_Output output = {NULL, 0};
  while (next_field(&tensor_info, &name) != 1)
    if (tensor_info.at >= tensor_info.end) stop("a tensor of a signature has no name");
  snprintf(text, LONGEST, "%.*s", (int)(name.end - name.at), (const char *)name.at);
  char *colon = strchr(text, ':');
  if (colon) {
    *colon = 0;
    output.index = atoi(colon + 1);
  }
  output.oper = TF_GraphOperationByName(graph, text);
  if (!output.oper) stop("a tensor of a signature is not in the graph");
  return output;
}

/* --- Requests and answers --------------------------------------------------------------------------------------- */

static void read_bytes(void *data, size_t size) {
  if (size && fread(data, size, 1, stdin) != 1) stop("a request ends early");
}

static TF_Tensor *read_tensor(char *name) {
  char line[LONGEST];
  int64_t dims[MOST], count = 1;
  int dtype, rank, used;
  if (!fgets(line, LONGEST, stdin) || sscanf(line, "%511s %d %d%n", name, &dtype, &rank, &used) != 3 || rank > MOST)
    stop("a tensor's first line makes no sense");
  const char *rest = line + used;
  for (int i = 0; i < rank; i++, rest += used) {
    if (sscanf(rest, "%" SCNd64 "%n", &dims[i], &used) != 1) stop("a tensor's first line makes no sense");
    count *= dims[i];
  }
  int is_string = dtype == TF_STRING;
  size_t size = count * (is_string ? sizeof(TF_TString) : TF_DataTypeSize(dtype));
  TF_Tensor *tensor = TF_AllocateTensor(dtype, dims, rank, size);
  if (!is_string) {
    read_bytes(TF_TensorData(tensor), size);
    return tensor;
  }
  TF_TString *strings = TF_TensorData(tensor);
  for (int64_t i = 0; i < count; i++) {
    uint64_t length;
    read_bytes(&length, sizeof length);
    char *bytes = malloc(length + 1);
    read_bytes(bytes, length);
    TF_StringInit(&strings[i]);
    TF_StringCopy(&strings[i], bytes, length);
    free(bytes);
  }
  return tensor;
}

static void write_tensor(const char *name, const TF_Tensor *tensor) {
  printf("%s %d %d", name, TF_TensorType(tensor), TF_NumDims(tensor));
  for (int i = 0; i < TF_NumDims(tensor); i++) printf(" %" PRId64, TF_Dim(tensor, i));
  printf("\n");
  if (TF_TensorType(tensor) != TF_STRING) {
    fwrite(TF_TensorData(tensor), 1, TF_TensorByteSize(tensor), stdout);
    return;
  }
  const TF_TString *strings = TF_TensorData(tensor);
  for (int64_t i = 0; i < TF_TensorElementCount(tensor); i++) {
    uint64_t length = TF_StringGetSize(&strings[i]);
    fwrite(&length, sizeof length, 1, stdout);
    fwrite(TF_StringGetDataPointer(&strings[i]), 1, length, stdout);
  }
}

static void refuse(const char *message) {
  printf("error %zu\n%s", strlen(message), message);
}

static void answer(TF_Session *session, TF_Graph *graph, Message meta_graph, const char *name, int num_inputs) {
  Message signature = {NULL, NULL}, info;
  TF_Output inputs[MOST], outputs[MOST];
  TF_Tensor *values[MOST] = {NULL}, *results[MOST] = {NULL};
  char keys[MOST][LONGEST], wrong[2 * LONGEST] = "";
  int num_outputs = 0, num_expected = 0;

  if (num_inputs > MOST) stop("a request has too many tensors");
  int known = find_entry(meta_graph, 5, name, &signature); /* MetaGraphDef.signature_def */
  for (int i = 0; i < num_inputs; i++) {
    values[i] = read_tensor(keys[i]);
    if (known && find_entry(signature, 1, keys[i], &info)) /* SignatureDef.inputs */
      inputs[i] = find_output(graph, info);
    else
      snprintf(wrong, sizeof wrong, "%s is not an input of %s", keys[i], name);
  }
  for (Message m = signature; next_entry(&m, 1, keys[0], &info);) num_expected++;
  if (!known) snprintf(wrong, sizeof wrong, "there is no signature %s", name);
  if (known && !wrong[0] && num_inputs != num_expected)
    snprintf(wrong, sizeof wrong, "%s takes %d inputs, not %d", name, num_expected, num_inputs);
  for (Message m = signature; num_outputs < MOST && next_entry(&m, 2, keys[num_outputs], &info);) /* .outputs */
    outputs[num_outputs++] = find_output(graph, info);

  TF_Status *status = TF_NewStatus();
  if (!wrong[0])
    TF_SessionRun(session, NULL, inputs, values, num_inputs, outputs, results, num_outputs, NULL, 0, NULL, status);
  if (wrong[0] || TF_GetCode(status) != TF_OK) {
    refuse(wrong[0] ? wrong : TF_Message(status));
  } else {
    printf("ok %d\n", num_outputs);
    for (int i = 0; i < num_outputs; i++) write_tensor(keys[i], results[i]);
  }
  fflush(stdout);
  for (int i = 0; i < MOST; i++) {
    TF_DeleteTensor(values[i]);
    TF_DeleteTensor(results[i]);
  }
  TF_DeleteStatus(status);
}

int main(int argc, char **argv) {
  if (argc != 2) stop("usage: serve SAVED_MODEL_DIR");
  disable_xla();
  const char *tags[] = {"serve"};
  TF_SessionOptions *options = TF_NewSessionOptions();
  TF_Graph *graph = TF_NewGraph();
  TF_Buffer *buffer = TF_NewBuffer();
  TF_Status *status = TF_NewStatus();
  TF_Session *session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph, buffer, status);
  if (TF_GetCode(status) != TF_OK) stop(TF_Message(status));
  Message meta_graph = {buffer->data, (const unsigned char *)buffer->data + buffer->length};

  char line[LONGEST], name[LONGEST];
  for (int num_inputs; fgets(line, LONGEST, stdin);) {
    if (sscanf(line, "%511s %d", name, &num_inputs) != 2) stop("a request's first line makes no sense");
    answer(session, graph, meta_graph, name, num_inputs);
  }
  return 0;
}
