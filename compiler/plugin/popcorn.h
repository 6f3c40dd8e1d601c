// SPDX-License-Identifier: GPL-2.0-only OR MIT
// What the passes of the plugin share: the names of the interface to the runtime (compiler/rt/state.h), who may
// move, liveness, and the entry points of each transformation.
//
// Words used throughout:
//   point    a place at which a thread may be asked to stop: a poll of the flag, or a call of the runtime
//   site     a call that may not come back before the thread has moved; the frame can be left and entered there
//   record   what a frame leaves behind at a site: its resume function, the site's number, the live values
//   moving   a function that has sites ("may move"); all others run to their end wherever they were called

#ifndef POPCORN_PLUGIN_H
#define POPCORN_PLUGIN_H

#include "llvm/ADT/BitVector.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/IR/DiagnosticInfo.h"
#include "llvm/IR/IRBuilder.h"
#include "llvm/IR/InstIterator.h"
#include "llvm/IR/Instructions.h"
#include "llvm/IR/IntrinsicInst.h"
#include "llvm/IR/MDBuilder.h"
#include "llvm/IR/Module.h"
#include "llvm/IR/PassManager.h"

namespace llvm {
class DominatorTree;
class Loop;
class ScalarEvolution;
}

namespace popcorn {

using namespace llvm;

// Fields of the runtime's struct popcorn_thread, by their offsets.
enum StateField : unsigned {
	Flag = 0,
	Unwinding = 4,
	ShadowPointer = 8,
	ShadowEnd = 16,
	Pins = 24,
	JumpSite = 28,
	JumpFrame = 32,
	PinWhy = 40,
	JumpValue = 48,
	Rewind = 56,
};

// Values of Unwinding.
enum : unsigned { Runs = 0, Capturing = 1, Jumping = 2 };

// Bits of Flag: Rewinding is set by resume functions only, all others are the runtime's.
enum : unsigned { Rewinding = 0x80000000u };

// A record starts with these, followed by the live values.
enum RecordField : unsigned { RecordResume = 0, RecordSite = 8, RecordValues = 16 };

// Bytes; the runtime's POPCORN_RECORD_MAX.
constexpr uint64_t RecordMax = 0x8000;

// Where a frame with a setjmp() keeps what a signal handler needs to jump into it: the runtime's popcorn_landing.
enum LandingField : unsigned { LandingPinWhy = 208, LandingPins = 216, LandingBytes = 224 };

// A jmp_buf as setjmp() fills it; the runtime adds the signal mask behind it.
enum JumpField : unsigned { JumpBufFrame = 0, JumpBufSite = 8 };

// The runtime as seen from one module: builds accesses to the thread's state and calls of the runtime.
class Runtime {
public:
	explicit Runtime(Module &M);

	Value *field(IRBuilderBase &B, StateField F);
	// Volatile: the field changes in calls that the optimizer believes to know (malloc()), and by a signal.
	LoadInst *load(IRBuilderBase &B, StateField F, const Twine &Name = "");
	StoreInst *store(IRBuilderBase &B, Value *V, StateField F);
	LoadInst *loadBoth(IRBuilderBase &B);		// Flag and Unwinding
	bool isField(const LoadInst &L, StateField F);	// whether it is what load() built

	CallInst *point(IRBuilderBase &B);
	CallInst *save(IRBuilderBase &B, uint64_t Bytes);
	CallInst *next(IRBuilderBase &B);
	CallInst *overflow(IRBuilderBase &B);
	CallInst *land(IRBuilderBase &B, Value *Landing);
	CallInst *division(IRBuilderBase &B);

	// Keeps the thread where it is while a call runs.
	void pin(CallInst &Call, StringRef Why);

	// Weights for a branch whose first successor is (nearly) never taken.
	MDNode *unlikely() { return MDBuilder(C).createBranchWeights(1, 1 << 20); }

	Module &M;
	LLVMContext &C;
	const DataLayout &DL;
	PointerType *Ptr;
	IntegerType *I8, *I32, *I64;

private:
	FunctionCallee function(StringRef Name, Type *Ret, ArrayRef<Type *> Args);

	GlobalVariable *Self;
	StringMap<GlobalVariable *> Reasons;
};

// Functions without any point: those of -popcorn-never, the runtime's, and what code generation may call by
// itself, with all that these call. For none of them is there a check after the call.
class NeverMoves {
public:
	explicit NeverMoves(Module &M);
	bool contains(const Function &F) const { return Set.contains(&F); }

private:
	DenseSet<const Function *> Set;
};

// Whether the callee of a call, if it isn't defined here, can come to a point: for the pass that places points.
bool mayReachPoint(const CallBase &CB, const NeverMoves &Never);

// Code in front of an instruction that asks whether to move.
void addPoint(Instruction *Before, Runtime &RT);

// An innermost loop whose last instruction compares a counter with a bound.
struct CountedLoop {
	BasicBlock *Header, *Latch, *Preheader, *Exit;
	ICmpInst *Compare;
	unsigned BoundOperand;
	PHINode *Counter;	// before the step
	Value *Step;		// for comparisons by order: what is added to the counter in a round, or null if it
	bool Down;		// isn't a value of its own; for equality the step is one, up or down
	bool ComparesNext;	// the counter after the step, not before
};

bool isCounted(Loop &L, ScalarEvolution &SE, CountedLoop &C);

// Whether the loop's rounds are at most Stride, seen from in front of it. To be wrong is no harm.
Value *areFew(const CountedLoop &C, unsigned Stride);

// Copies a loop's blocks: the copy, which is for few rounds, has no point. Returns the other loop's new preheader.
BasicBlock *copyForFew(BasicBlock *Header, BasicBlock *Preheader, ArrayRef<BasicBlock *> Blocks, Value *Few);

// Gives the loop a point every Stride rounds. Analyses of the function are lost.
void stripMine(const CountedLoop &C, unsigned Stride, Runtime &RT);

// Functions of this module that may move, and calls that are sites: closed over the calls in the module.
class MayMove {
public:
	MayMove(Module &M, const NeverMoves &Never);
	bool contains(const Function &F) const { return Set.contains(&F); }
	bool isSite(const CallBase &CB) const;

private:
	const NeverMoves &Never;
	DenseSet<const Function *> Set;
};

// Takes from a function or call that may move what the optimizer knows of it only if it runs to its end.
void stripPromises(Function &F);
void stripPromises(CallBase &CB);

struct Site {
	CallInst *Call;
	SmallVector<Value *, 8> Live;		// arguments and instructions, in the function's order
	SmallVector<uint64_t, 8> Offset;	// of each in the record
	uint64_t Bytes = 0;			// of the record
};

// Fills Live: what is used after the site and defined before it, without the call's own result.
void findLive(Function &F, MutableArrayRef<Site> Sites);

// Fills Offset and Bytes: where each live value is kept, from Start on, in memory aligned to 16.
void layOut(Site &S, uint64_t Start, const DataLayout &DL);
Align slotAlign(Type *T, const DataLayout &DL);

// Gives values of a function further definitions, each at the end of a block.
class Definitions {
public:
	explicit Definitions(Function &F) : F(F) {}
	void add(Instruction *V, Value *Also, Instruction *Before);
	void resolve();

private:
	AllocaInst *slot(Instruction *V);

	Function &F;
	DenseMap<Instruction *, AllocaInst *> Slots;
	SmallVector<AllocaInst *> All;
};

// Variables as a debugger knows them: what holds at each site, and saying it once more, of values in other places.
using DebugRecords = SmallVector<DbgVariableRecord *>;
SmallVector<DebugRecords> describeSites(Function &F, ArrayRef<Site> Sites);
void describeAgain(Instruction &Before, ArrayRef<DbgVariableRecord *> Records,
		   ArrayRef<std::pair<Instruction *, Value *>> Now);

// Moves locals of constant size from a block that was or is the entry to the front of the entry, where they belong
// to the frame. Returns what follows them.
Instruction *gatherLocals(BasicBlock &From);

// Gives every argument a copy, behind the locals, that stands for it: what has a block can have several definitions.
void copyArguments(Function &F);

// A call's attribute: in the place of a site's call, to enter the frames behind it again.
constexpr char ResumesAttr[] = "popcorn-resumes";

// A message with the source's place, if the module has debug information. Errors end the compilation.
void diagnose(const Instruction &I, const Twine &Message, DiagnosticSeverity Severity);

bool lowerComputedGotos(Module &M);

void refuseUnportable(Module &M);
bool mayCall(const CallBase &CB);	// inline assembly

// Constant distances from an address are added where the sum is used, so that sites keep one value in place of many.
void sinkAddresses(Function &F);

// Locals that must move with the thread. Returns whether the function got a frame on the shadow stack.
bool moveLocals(Function &F, ArrayRef<CallInst *> Sites, Runtime &RT);

// setjmp() by values in memory; the marker calls it leaves behind sites are for capture to expand.
bool lowerSetjmp(Function &F, const MayMove &May, Runtime &RT);
bool isSetjmp(const CallBase &CB);
bool callsSetjmp(const Function &F);
void splitSigsetjmp(Module &M, Runtime &RT);
bool isJumpMarker(const CallBase &CB);
CallInst *jumpMarker(const CallInst &Site);	// the marker behind a site, or null
bool isLanding(const CallBase &CB);
void expandJumpMarker(CallInst &Marker, IRBuilderBase &B, BasicBlock *Else, Runtime &RT);

struct VarargsPass : PassInfoMixin<VarargsPass> {
	PreservedAnalyses run(Module &M, ModuleAnalysisManager &);
	static bool isRequired() { return true; }
};

struct RetargetPass : PassInfoMixin<RetargetPass> {
	explicit RetargetPass(unsigned Isa) : Isa(Isa) {}
	static bool lookup(StringRef Name, unsigned &Isa);
	PreservedAnalyses run(Module &M, ModuleAnalysisManager &);
	static bool isRequired() { return true; }

private:
	unsigned Isa;
};

struct StrictPass : PassInfoMixin<StrictPass> {
	explicit StrictPass(bool NaN) : NaN(NaN) {}
	PreservedAnalyses run(Module &M, ModuleAnalysisManager &);
	static bool isRequired() { return true; }

private:
	bool NaN;
};

struct PointsPass : PassInfoMixin<PointsPass> {
	PreservedAnalyses run(Module &M, ModuleAnalysisManager &);
	static bool isRequired() { return true; }
};

struct CapturePass : PassInfoMixin<CapturePass> {
	PreservedAnalyses run(Module &M, ModuleAnalysisManager &);
	static bool isRequired() { return true; }
};

struct ExternPass : PassInfoMixin<ExternPass> {
	PreservedAnalyses run(Module &M, ModuleAnalysisManager &);
	static bool isRequired() { return true; }
};

struct ReportPass : PassInfoMixin<ReportPass> {
	PreservedAnalyses run(Module &M, ModuleAnalysisManager &);
	static bool isRequired() { return true; }
};

} // namespace popcorn

#endif
