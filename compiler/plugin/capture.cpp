// SPDX-License-Identifier: GPL-2.0-only OR MIT
// Lets every frame of a moving function be left and entered again at its sites.
//
// Behind a site the thread's "unwinding" is tested. If it is set, the frame stores what is live there in a record and
// returns, and so do its callers. To enter again, a record's resume function leads to a switch over the sites, which
// loads the values, calls the resume function of the next record in the place of the call, and goes on behind it.
// There are two ways to it, and one rule that chooses (inPlace()):
//   in place   the function itself begins with a test of the thread's "rewind", the record to go on with if it isn't
//              null. The resume function sets it and calls the function. Costs the test, and loops with sites are
//              entered in their middle; next to no code.
//   clone      the resume function is a copy of the function that begins with the switch. Costs its code; the
//              function stays as it was. The copy can be captured like the original; records name the copy.
//
// Sites share the code that saves and loads as far as they keep the same values; in place they do so even if they
// don't, in one record of the values of all of them.
//
// Invariants:
//   - A record holds nothing private to an ISA: no native stack address (those locals are on the shadow stack, or dead
//     at the site), no code address but that of functions, no label.
//   - The result of a site's call is never part of its record: the callee may not have finished.
//   - Copy and original number their sites alike and lay out their records alike, on all ISAs: all of this is decided
//     once, before the module is compiled for each.
//   - A call whose result is returned as it comes, by a function without a frame on the shadow stack, needs no record:
//     the caller's record is followed by the callee's.
//   - "rewind" is null but between a resume function and the test of the function that it calls.

#include "popcorn.h"

#include "llvm/ADT/SetVector.h"
#include "llvm/Analysis/LoopInfo.h"
#include "llvm/IR/AttributeMask.h"
#include "llvm/IR/Dominators.h"
#include "llvm/Support/CommandLine.h"
#include "llvm/Transforms/Utils/BasicBlockUtils.h"
#include "llvm/Transforms/Utils/Cloning.h"

namespace popcorn {

static cl::opt<bool> KeepFrames("popcorn-keep-frames", cl::init(false),
	cl::desc("A record for every frame, tail calls too, so that a debugger sees them after a move"));

static cl::opt<unsigned> CloneMax("popcorn-clone-max", cl::init(40),
	cl::desc("Instructions that a function has at most to be resumed in a copy of it (default 40); seven times as "
		 "many if it can move in loops"));
static constexpr unsigned LoopFactor = 7;

// A switch in a loop with so many ways is an interpreter's: its values stay in registers all the way round, which a
// second head for each way would undo (Lua took a third more instructions). More than where points are placed: the copy
// of a smaller one cost Lua 7 % of its text and saved nothing.
static constexpr unsigned InterpreterWays = 32;

namespace {

// Sites with one save block and one layout of their records: what is live at any of them, each at its own place.
struct Group {
	SmallVector<unsigned> Sites;		// their numbers
	SetVector<Value *> Live;
	SmallVector<uint64_t> Offset;
	uint64_t Bytes = 0;
};

class FunctionCapture {
public:
	FunctionCapture(Function &F, const MayMove &May, Runtime &RT) : F(F), May(May), RT(RT) {}
	void run();

private:
	SmallVector<CallInst *> findSites();
	const char *whyPinned(ArrayRef<CallInst *> Calls);
	void pin(ArrayRef<CallInst *> Calls, StringRef Why);
	bool returnsResult(CallInst &Call);
	bool inPlace(ArrayRef<CallInst *> Calls, bool HasSetjmp) const;
	void group(bool Together);
	Function *newFunction(GlobalValue::LinkageTypes Linkage);
	void createClone(SmallVectorImpl<Site> &CloneSites, std::vector<Group> &CloneGroups);
	void createEntry();
	void addTests(Function &In, ArrayRef<Site> Sites, ArrayRef<Group> Groups,
		      SmallVectorImpl<BasicBlock *> &Tests);
	void findLanding(CallInst &Marker, const Site &S);
	BranchInst *landAgain(BasicBlock *At, ArrayRef<std::pair<Instruction *, Value *>> Loads);
	void test(BasicBlock *Test, BasicBlock *Leave, BasicBlock *Go);
	BranchInst *startsWithPoint(BasicBlock &Go);
	BasicBlock *testBoth(BasicBlock *Test, BasicBlock *Leave, BasicBlock *Go, BranchInst &Point);
	void save(BasicBlock *Save, ArrayRef<Site> Sites, const Group &G, ArrayRef<BasicBlock *> From);
	void dispatch(BasicBlock *Start, Value *Record, ArrayRef<Site> Sites, ArrayRef<Group> Groups,
		      ArrayRef<BasicBlock *> Tests, ArrayRef<DebugRecords> Described);
	void enterInPlace(ArrayRef<BasicBlock *> Tests);
	void enterClone(ArrayRef<Site> CloneSites, ArrayRef<Group> CloneGroups, ArrayRef<BasicBlock *> Tests,
			ArrayRef<DebugRecords> Described);

	Function &F;
	const MayMove &May;
	Runtime &RT;
	SmallVector<Site> Sites;
	std::vector<Group> Groups;
	Function *Resume = nullptr;
	struct {			// of a copy with a setjmp(): where its landing is, and whither it leads
		Value *Frame = nullptr;		// at an offset from this value, which all sites keep
		int64_t Offset = 0;
		BasicBlock *Catch = nullptr;
	} Landing;
};

SmallVector<CallInst *> FunctionCapture::findSites()
{
	SmallVector<CallInst *> Calls;

	for (Instruction &I : instructions(F)) {
		auto *CB = dyn_cast<CallBase>(&I);
		if (!CB || !May.isSite(*CB))
			continue;
		Calls.push_back(cast<CallInst>(CB));
	}
	return Calls;
}

// Code that C doesn't lead to, but that may come in as bitcode.
const char *FunctionCapture::whyPinned(ArrayRef<CallInst *> Calls)
{
	SmallVector<Site> At;

	for (Argument &A : F.args())
		if (A.hasPassPointeeByValueCopyAttr() || A.hasSwiftErrorAttr() || A.hasNestAttr())
			return "an argument in the native stack";
	for (CallInst *Call : Calls)
		At.push_back({Call, {}, {}, 0});
	findLive(F, At);
	for (Site &S : At) {
		layOut(S, RecordValues, RT.DL);
		if (S.Bytes > RecordMax)
			return "too many values at once";
	}
	return nullptr;
}

// A frame that can't be captured keeps the thread from moving while its callees run. longjmp() still goes through.
void FunctionCapture::pin(ArrayRef<CallInst *> Calls, StringRef Why)
{
	for (CallInst *Call : Calls) {
		if (Call->isMustTailCall())
			continue;
		CallInst *Marker = jumpMarker(*Call);
		BasicBlock *Test = Call->getParent()->splitBasicBlock(std::next(Call->getIterator()), "test");
		BasicBlock *Leave = BasicBlock::Create(RT.C, "leave", &F), *Caught = Leave, *Go;

		if (Marker) {
			Caught = BasicBlock::Create(RT.C, "leave", &F, Leave);
			IRBuilder<> B(Caught);
			expandJumpMarker(*Marker, B, Leave, RT);
			Go = Test->getTerminator()->getSuccessor(1);
			Test->getTerminator()->eraseFromParent();
			Marker->eraseFromParent();
		} else {
			Go = Test->splitBasicBlock(Test->begin(), "go");
			Test->getTerminator()->eraseFromParent();
		}
		RT.pin(*Call, Why);
		test(Test, Caught, Go);
		Value *Result = F.getReturnType()->isVoidTy() ? nullptr : PoisonValue::get(F.getReturnType());
		ReturnInst::Create(RT.C, Result, Leave);
		Call->setTailCall(false);
	}
}

bool FunctionCapture::returnsResult(CallInst &Call)
{
	if (Call.isMustTailCall())
		return true;
	if (KeepFrames)
		return false;
	Value *Result = &Call;
	Instruction *I = Call.getNextNonDebugInstruction();

	if (auto *Br = dyn_cast<BranchInst>(I); Br && Br->isUnconditional()) {
		BasicBlock *To = Br->getSuccessor(0);
		I = &*To->getFirstNonPHIOrDbg();
		if (auto *Ret = dyn_cast<ReturnInst>(I))
			if (auto *Phi = dyn_cast_or_null<PHINode>(Ret->getReturnValue()))
				if (Phi->getParent() == To && Phi->getIncomingValueForBlock(Call.getParent()) == &Call)
					Result = Phi;
	}
	auto *Ret = dyn_cast<ReturnInst>(I);
	return Ret && (Ret->getReturnValue() ? Ret->getReturnValue() == Result : Call.getType()->isVoidTy());
}

// The rule: a copy of functions that a test would slow down, because they are small or because their loops would have
// two heads, as long as these are not very large or are interpreters. In place where size is what counts. A debugger
// wants copies: where two ways join, it no longer knows where a variable is. So does setjmp(), which enters in yet
// another way.
bool FunctionCapture::inPlace(ArrayRef<CallInst *> Calls, bool HasSetjmp) const
{
	unsigned Size = F.getInstructionCount();

	if (KeepFrames || HasSetjmp)
		return false;
	if (F.hasOptSize() || !CloneMax)
		return true;
	if (Size <= CloneMax)
		return false;
	DominatorTree DT(F);
	LoopInfo LI(DT);
	auto interprets = [&](BasicBlock &BB) {
		return BB.getTerminator()->getNumSuccessors() >= InterpreterWays && LI.getLoopFor(&BB);
	};
	if (Size > CloneMax * LoopFactor)
		return none_of(F, interprets);
	return none_of(Calls, [&](CallInst *Call) { return LI.getLoopFor(Call->getParent()); });
}

// Without Together only sites that keep the same are one group, and for a debugger none are. Otherwise every site joins
// the group that it fits best, as long as records don't get much larger for it.
void FunctionCapture::group(bool Together)
{
	for (auto [Number, S] : enumerate(Sites)) {
		Group *Best = nullptr;
		size_t BestGrowth = Together ? S.Live.size() + 32 : 0;

		for (Group &G : Groups) {
			size_t Common = count_if(S.Live, [&](Value *V) { return G.Live.contains(V); });
			size_t Lacks = S.Live.size() - Common, Has = G.Live.size() - Common;

			if (Together ? Lacks >= BestGrowth || Has > S.Live.size() + 32 || G.Bytes > RecordMax / 4
				     : Lacks || Has || KeepFrames)
				continue;
			Best = &G;
			BestGrowth = Lacks;
		}
		if (!Best) {
			Groups.emplace_back();
			Best = &Groups.back();
		}
		Best->Sites.push_back(Number);
		Best->Live.insert(S.Live.begin(), S.Live.end());
		Site Layout{nullptr, {}, {}, 0};
		Layout.Live.assign(Best->Live.begin(), Best->Live.end());
		layOut(Layout, RecordValues, RT.DL);
		Best->Offset.assign(Layout.Offset.begin(), Layout.Offset.end());
		Best->Bytes = Layout.Bytes;
	}
}

Function *FunctionCapture::newFunction(GlobalValue::LinkageTypes Linkage)
{
	FunctionType *Type = FunctionType::get(F.getReturnType(), {RT.Ptr}, false);
	Function *R = Function::Create(Type, Linkage, F.getAddressSpace(), F.getName() + ".resume", &RT.M);

	R->setVisibility(F.getVisibility());
	R->setDSOLocal(F.isDSOLocal());
	R->getArg(0)->setName("record");
	return R;
}

void FunctionCapture::createClone(SmallVectorImpl<Site> &CloneSites, std::vector<Group> &CloneGroups)
{
	Function *R = newFunction(F.getLinkage());
	ValueToValueMapTy Map;
	SmallVector<ReturnInst *> Returns;

	// Arguments are values like others here: something has to define them, until dispatch() does.
	BasicBlock *Start = BasicBlock::Create(RT.C, "arguments", R);
	IRBuilder<> B(Start);
	for (Argument &A : F.args())
		Map[&A] = B.CreateFreeze(PoisonValue::get(A.getType()), A.getName());
	CloneFunctionInto(R, &F, Map, CloneFunctionChangeType::LocalChangesOnly, Returns);
	B.CreateBr(cast<BasicBlock>(Map[&F.getEntryBlock()]));
	Start->moveBefore(&R->front());

	// The copy has another type, so it can't promise a tail call; it makes at most one after each move.
	for (Instruction &I : instructions(*R))
		if (auto *Call = dyn_cast<CallInst>(&I); Call && Call->isMustTailCall())
			Call->setTailCallKind(CallInst::TCK_Tail);

	AttributeList Old = F.getAttributes();
	R->setAttributes(AttributeList::get(RT.C, Old.getFnAttrs(), Old.getRetAttrs(), {}));
	R->removeFnAttr(Attribute::AlwaysInline);
	R->removeFnAttr(Attribute::InlineHint);
	R->removeFnAttr(Attribute::AllocSize);
	R->addFnAttr(Attribute::NoInline);
	// It runs until the function next returns: fast enough without loops being multiplied once more.
	R->addFnAttr(Attribute::OptimizeForSize);
	R->setCallingConv(CallingConv::C);
	// A program's own section is for the function it names.
	R->setSection("");
	Resume = R;

	for (Site &S : Sites) {
		Site &C = CloneSites.emplace_back(Site{cast<CallInst>(Map[S.Call]), {}, {}, 0});
		for (Value *V : S.Live)
			C.Live.push_back(Map[V]);
	}
	for (Group &G : Groups) {
		CloneGroups.push_back({G.Sites, {}, G.Offset, G.Bytes});
		Group &C = CloneGroups.back();
		for (Value *V : G.Live)
			C.Live.insert(Map[V]);
	}
}

// What the function's arguments are doesn't matter then: what is live stands in the record.
void FunctionCapture::createEntry()
{
	AttributeMask Promises;
	SmallVector<Value *> Args;

	for (Attribute::AttrKind K : {Attribute::NoUndef, Attribute::NonNull, Attribute::Dereferenceable,
				      Attribute::DereferenceableOrNull, Attribute::Range, Attribute::NoFPClass})
		Promises.addAttribute(K);
	for (Argument &A : F.args()) {
		F.removeParamAttrs(A.getArgNo(), Promises);
		Args.push_back(Constant::getNullValue(A.getType()));
	}
	F.removeFnAttr(Attribute::AlwaysInline);

	Resume = newFunction(F.getLinkage());
	Resume->addFnAttrs(AttrBuilder(RT.C, F.getAttributes().getFnAttrs()));
	Resume->addFnAttr(Attribute::NoInline);
	IRBuilder<> B(BasicBlock::Create(RT.C, "", Resume));
	RT.store(B, Resume->getArg(0), Rewind);
	CallInst *Call = B.CreateCall(&F, Args);
	Call->setCallingConv(F.getCallingConv());
	Call->setAttributes(F.getAttributes().removeFnAttributes(RT.C));
	Call->addFnAttr(Attribute::NoInline);
	Call->setTailCall();
	if (F.getReturnType()->isVoidTy())
		B.CreateRetVoid();
	else
		B.CreateRet(Call);
}

// From: the blocks that lead here, one for each site of the group.
void FunctionCapture::save(BasicBlock *Save, ArrayRef<Site> Sites, const Group &G, ArrayRef<BasicBlock *> From)
{
	IRBuilder<> B(Save);
	auto choose = [&](Type *T, function_ref<Value *(unsigned)> At) -> Value * {
		SmallVector<Value *> Values;

		for (unsigned N : G.Sites)
			Values.push_back(At(N));
		if (all_equal(Values))
			return Values[0];
		PHINode *Phi = B.CreatePHI(T, Values.size());
		for (auto [V, Block] : zip(Values, From))
			Phi->addIncoming(V, Block);
		return Phi;
	};
	SmallVector<Value *> Values;

	B.SetCurrentDebugLocation(Sites[G.Sites[0]].Call->getDebugLoc());
	Value *Number = choose(RT.I32, [&](unsigned N) { return B.getInt32(N); });
	for (Value *V : G.Live)
		Values.push_back(choose(V->getType(), [&](unsigned N) {
			return is_contained(Sites[N].Live, V) ? V : PoisonValue::get(V->getType());
		}));
	CallInst *Record = RT.save(B, G.Bytes);
	auto slot = [&](uint64_t Offset) { return B.CreateConstInBoundsGEP1_64(RT.I8, Record, Offset); };
	B.CreateStore(Resume, Record);
	B.CreateStore(Number, slot(RecordSite));
	for (auto [V, Offset] : zip(Values, G.Offset))
		B.CreateAlignedStore(V, slot(Offset), slotAlign(V->getType(), RT.DL));
	if (F.getReturnType()->isVoidTy())
		B.CreateRetVoid();
	else
		B.CreateRet(PoisonValue::get(F.getReturnType()));
}

void FunctionCapture::test(BasicBlock *Test, BasicBlock *Leave, BasicBlock *Go)
{
	IRBuilder<> B(Test);

	Value *Leaves = B.CreateICmpNE(RT.load(B, Unwinding, "unwinding"), B.getInt32(Runs));
	B.CreateCondBr(Leaves, Leave, Go, RT.unlikely());
}

// The branch of a point that follows at once.
BranchInst *FunctionCapture::startsWithPoint(BasicBlock &Go)
{
	auto *Branch = dyn_cast<BranchInst>(Go.getTerminator());
	auto *Compare = Branch && Branch->isConditional() ? dyn_cast<ICmpInst>(Branch->getCondition()) : nullptr;
	auto *Load = Compare ? dyn_cast<LoadInst>(Compare->getOperand(0)) : nullptr;

	if (!Load || !RT.isField(*Load, Flag) || Go.hasNPredecessorsOrMore(1))
		return nullptr;
	for (Instruction &I : Go.instructionsWithoutDebug())
		if (&I != Branch && &I != Compare && &I != Load && I.mayHaveSideEffects())
			return nullptr;
	return Branch;
}

// Both fields at once, they are neighbours: a point behind a site costs nothing. Returns the block that leads to Leave.
BasicBlock *FunctionCapture::testBoth(BasicBlock *Test, BasicBlock *Leave, BasicBlock *Go, BranchInst &Point)
{
	auto *Compare = cast<ICmpInst>(Point.getCondition());
	BasicBlock *Which = BasicBlock::Create(RT.C, "which", Test->getParent(), Leave);
	IRBuilder<> B(Test), W(Which);

	B.CreateBr(Go);
	B.SetInsertPoint(&Point);
	B.SetCurrentDebugLocation(Point.getDebugLoc());
	W.SetCurrentDebugLocation(Point.getDebugLoc());
	Value *Any = B.CreateICmpNE(RT.loadBoth(B), B.getInt64(0), "any");
	Value *Leaves = W.CreateICmpNE(RT.load(W, Unwinding, "unwinding"), W.getInt32(Runs));
	W.CreateCondBr(Leaves, Leave, Point.getSuccessor(0), RT.unlikely());
	Point.getSuccessor(0)->replacePhiUsesWith(Go, Which);
	Point.setCondition(Any);
	Point.setSuccessor(0, Which);
	Instruction *Load = cast<Instruction>(Compare->getOperand(0));
	Compare->eraseFromParent();
	Load->eraseFromParent();
	return Which;
}

// Tests gets, for each site, the block behind the call that tests whether the frame is to be left.
void FunctionCapture::addTests(Function &In, ArrayRef<Site> Sites, ArrayRef<Group> Groups,
			       SmallVectorImpl<BasicBlock *> &Tests)
{
	Tests.resize(Sites.size());
	for (const Group &G : Groups) {
		BasicBlock *Save = BasicBlock::Create(RT.C, "save", &In);
		SmallVector<BasicBlock *> From;

		for (unsigned Number : G.Sites) {
			CallInst *Call = Sites[Number].Call;
			CallInst *Marker = jumpMarker(*Call);
			BasicBlock *Leave = Save, *Go;

			Call->setTailCall(false);
			BasicBlock *Test = Call->getParent()->splitBasicBlock(std::next(Call->getIterator()), "test");
			if (Marker) {
				Leave = BasicBlock::Create(RT.C, "leave", &In, Save);
				IRBuilder<> B(Leave);
				B.SetCurrentDebugLocation(Call->getDebugLoc());
				expandJumpMarker(*Marker, B, Save, RT);
				Go = Test->getTerminator()->getSuccessor(1);
				if (&In == Resume)
					findLanding(*Marker, Sites[Number]);
				Test->getTerminator()->eraseFromParent();
				Marker->eraseFromParent();
			} else {
				Go = Test->splitBasicBlock(Test->begin(), "go");
				Test->getTerminator()->eraseFromParent();
			}
			BasicBlock *Leaves = Test;
			if (BranchInst *Point = startsWithPoint(*Go))
				Leaves = testBoth(Test, Leave, Go, *Point);
			else
				test(Test, Leave, Go);
			From.push_back(Marker ? Leave : Leaves);
			Tests[Number] = Test;
		}
		save(Save, Sites, G, From);
	}
}

void FunctionCapture::findLanding(CallInst &Marker, const Site &S)
{
	APInt Offset(64, 0);

	Landing.Frame = Marker.getArgOperand(0);
	while (!is_contained(S.Live, Landing.Frame)) {
		auto *Step = cast<GetElementPtrInst>(Landing.Frame);
		Step->accumulateConstantOffset(RT.DL, Offset);
		Landing.Frame = Step->getPointerOperand();
	}
	Landing.Offset = Offset.getSExtValue();
	Landing.Catch = Marker.getParent()->getTerminator()->getSuccessor(0);
}

// The native frame is a new one: signal handlers are to jump into this. Returns where the block goes on.
BranchInst *FunctionCapture::landAgain(BasicBlock *At, ArrayRef<std::pair<Instruction *, Value *>> Loads)
{
	BasicBlock *On = BasicBlock::Create(RT.C, "resumes", Resume, At->getNextNode());
	IRBuilder<> B(At);
	auto *Kept = find_if(Loads, [&](auto &L) { return L.first == Landing.Frame; });
	Value *There = B.CreateGEP(RT.I8, Kept->second, B.getInt64(Landing.Offset));
	Value *Back = B.CreateICmpNE(RT.land(B, There), B.getInt32(0));
	return B.CreateCondBr(Back, Landing.Catch, On, RT.unlikely());
}

// How the next record's resume function is called, for sites that can share that: what it returns.
static Type *resultType(const CallInst &Call, Runtime &RT)
{
	Type *T = Call.getType();

	if (T->isVoidTy() || T->isPointerTy() || (T->isIntegerTy() && T->getIntegerBitWidth() <= 64))
		return RT.I64;
	return T;
}

// The way back in, from the end of Start: loads what the record holds, calls on, and joins the body behind the site's
// call. A value has then several definitions; what was before the sites may have become unreachable.
void FunctionCapture::dispatch(BasicBlock *Start, Value *Record, ArrayRef<Site> Sites, ArrayRef<Group> Groups,
			       ArrayRef<BasicBlock *> Tests, ArrayRef<DebugRecords> Described)
{
	Function &In = *Start->getParent();
	struct Definition { Instruction *V; Value *Also; BasicBlock *In; };
	SmallVector<Definition> Defined;
	BasicBlock *Nowhere = BasicBlock::Create(RT.C, "nowhere", &In);
	IRBuilder<> B(Start);

	new UnreachableInst(RT.C, Nowhere);
	B.SetCurrentDebugLocation(Sites[0].Call->getDebugLoc());
	Value *Number = B.CreateLoad(RT.I32, B.CreateConstInBoundsGEP1_64(RT.I8, Record, RecordSite), "site");
	// A way from From for each of several lists of sites; a list alone needs no choice.
	auto choose = [&](BasicBlock *From, unsigned Count, function_ref<ArrayRef<unsigned>(unsigned)> List,
			  const Twine &Name) {
		SmallVector<BasicBlock *> Ways{From};

		if (Count == 1)
			return Ways;
		SwitchInst *Switch = IRBuilder<>(From).CreateSwitch(Number, Nowhere, Sites.size());
		Ways.clear();
		for (unsigned N = 0; N < Count; N++) {
			Ways.push_back(BasicBlock::Create(RT.C, Name, &In, Nowhere));
			for (unsigned Site : List(N))
				Switch->addCase(B.getInt32(Site), Ways[N]);
		}
		return Ways;
	};

	auto ToGroups = choose(Start, Groups.size(), [&](unsigned N) { return ArrayRef(Groups[N].Sites); }, "group");
	for (auto [G, At] : zip(Groups, ToGroups)) {
		SmallVector<std::pair<Instruction *, Value *>> Loads;
		BasicBlock *Loaded = At;

		B.SetInsertPoint(At);
		for (auto [V, Offset] : zip(G.Live, G.Offset)) {
			Value *Slot = B.CreateConstInBoundsGEP1_64(RT.I8, Record, Offset);
			Value *Now = B.CreateAlignedLoad(V->getType(), Slot, slotAlign(V->getType(), RT.DL),
							 V->getName());

			Loads.push_back({cast<Instruction>(V), Now});
			Defined.push_back({cast<Instruction>(V), Now, At});
		}
		if (Landing.Catch)
			Loaded = landAgain(At, Loads)->getSuccessor(1);
		MapVector<Type *, SmallVector<unsigned>> Kinds;
		for (unsigned N : G.Sites)
			Kinds[resultType(*Sites[N].Call, RT)].push_back(N);
		auto Kind = [&](unsigned N) { return ArrayRef((Kinds.begin() + N)->second); };
		auto ToKinds = choose(Loaded, Kinds.size(), Kind, "call");
		for (auto [Of, At] : zip(Kinds, ToKinds)) {
			const SmallVector<unsigned> &Members = Of.second;
			B.SetInsertPoint(At);
			B.SetCurrentDebugLocation(Sites[Members[0]].Call->getDebugLoc());
			CallInst *Next = RT.next(B);
			if (Members.size() == 1 && !Described.empty()) {
				describeAgain(*Next, Described[Members[0]], Loads);
				describeAgain(*Tests[Members[0]]->getFirstInsertionPt(), Described[Members[0]], {});
			}
			Value *Function = B.CreateLoad(RT.Ptr, Next);
			CallInst *On = B.CreateCall(FunctionType::get(Of.first, {RT.Ptr}, false), Function, {Next});
			On->addFnAttr(Attribute::get(RT.C, ResumesAttr));
			if (KeepFrames)		// each has its own line
				On->addFnAttr(Attribute::NoMerge);
			auto One = [&](unsigned N) { return ArrayRef(Members[N]); };
			auto ToSites = choose(At, Members.size(), One, "site");
			for (auto [N, At] : zip(Members, ToSites)) {
				CallInst *Call = Sites[N].Call;
				Type *T = Call->getType();

				B.SetInsertPoint(At);
				if (!Call->use_empty()) {
					Value *Result = On;

					if (T->isPointerTy())
						Result = B.CreateIntToPtr(On, T);
					else if (T->isIntegerTy() && T->getIntegerBitWidth() < 64)
						Result = B.CreateTrunc(On, T);
					Defined.push_back({Call, Result, At});
				}
				B.CreateBr(Tests[N]);
			}
		}
	}
	Definitions Defs(In);
	for (const Definition &D : Defined)
		Defs.add(D.V, D.Also, D.In->getTerminator());
	Defs.resolve();
}

void FunctionCapture::enterInPlace(ArrayRef<BasicBlock *> Tests)
{
	BasicBlock &Entry = F.getEntryBlock();
	Instruction *First = gatherLocals(Entry);
	BasicBlock *Body = Entry.splitBasicBlock(First, "body");
	BasicBlock *Start = BasicBlock::Create(RT.C, "resume", &F);
	IRBuilder<> B(Entry.getTerminator()), S(Start);

	B.SetCurrentDebugLocation(Sites[0].Call->getDebugLoc());
	S.SetCurrentDebugLocation(Sites[0].Call->getDebugLoc());
	Value *Record = RT.load(B, Rewind, "rewind");
	B.CreateCondBr(B.CreateIsNotNull(Record), Start, Body, RT.unlikely());
	Entry.getTerminator()->eraseFromParent();
	RT.store(S, ConstantPointerNull::get(RT.Ptr), Rewind);
	dispatch(Start, Record, Sites, Groups, Tests, {});
}

void FunctionCapture::enterClone(ArrayRef<Site> CloneSites, ArrayRef<Group> CloneGroups, ArrayRef<BasicBlock *> Tests,
				 ArrayRef<DebugRecords> Described)
{
	BasicBlock *Body = &Resume->getEntryBlock();
	BasicBlock *Entry = BasicBlock::Create(RT.C, "resume", Resume, Body);
	BasicBlock *Start = BasicBlock::Create(RT.C, "start", Resume, Body);
	IRBuilder<> B(Entry);

	// The old way in stays until all values have their new definitions.
	BranchInst *Either = B.CreateCondBr(B.getFalse(), Body, Start);
	dispatch(Start, Resume->getArg(0), CloneSites, CloneGroups, Tests, Described);
	B.SetInsertPoint(Either);
	B.CreateBr(Start);
	Either->eraseFromParent();
	for (BasicBlock &BB : *Resume)
		gatherLocals(BB);
	EliminateUnreachableBlocks(*Resume);
}

void FunctionCapture::run()
{
	SmallVector<CallInst *> Calls;

	sinkAddresses(F);	// also those into locals: fewer of these have to move, and setjmp() keeps fewer values
	bool HasSetjmp = lowerSetjmp(F, May, RT);
	Calls = findSites();
	if (Calls.empty())
		return;
	if (const char *Why = whyPinned(Calls)) {
		diagnose(*Calls[0], Twine("threads can't move while they are in this function: ") + Why, DS_Warning);
		F.addFnAttr("popcorn-pinned", Why);
		pin(Calls, Why);
		return;
	}
	bool InPlace = inPlace(Calls, HasSetjmp);
	if (InPlace)
		copyArguments(F);
	bool HasFrame = moveLocals(F, Calls, RT);
	for (CallInst *Call : Calls)
		if (HasFrame ? !Call->isMustTailCall() : !returnsResult(*Call))
			Sites.push_back({Call, {}, {}, 0});
	if (Sites.empty())
		return;
	if (HasFrame && !KeepFrames)	// a debugger looks for locals at the frame's address, which is to stay
		sinkAddresses(F);
	findLive(F, Sites);
	for (Site &S : Sites)
		erase_if(S.Live, [](Value *V) { return isa<AllocaInst>(V); });
	group(InPlace);

	SmallVector<BasicBlock *> Tests;
	if (InPlace) {
		createEntry();
		addTests(F, Sites, Groups, Tests);
		enterInPlace(Tests);
		return;
	}
	SmallVector<Site> CloneSites;
	std::vector<Group> CloneGroups;
	SmallVector<BasicBlock *> CloneTests;
	createClone(CloneSites, CloneGroups);
	SmallVector<DebugRecords> Described = describeSites(*Resume, CloneSites);
	addTests(F, Sites, Groups, Tests);
	addTests(*Resume, CloneSites, CloneGroups, CloneTests);
	enterClone(CloneSites, CloneGroups, CloneTests, Described);
}

} // namespace

PreservedAnalyses CapturePass::run(Module &M, ModuleAnalysisManager &)
{
	Runtime RT(M);
	splitSigsetjmp(M, RT);
	NeverMoves Never(M);
	MayMove May(M, Never);
	SmallVector<Function *> Moving;

	for (Function &F : M) {
		if (May.contains(F)) {
			Moving.push_back(&F);
			stripPromises(F);
		} else if (callsSetjmp(F)) {
			Moving.push_back(&F);
		} else if (F.isDeclaration() && !F.isIntrinsic() && !Never.contains(F)) {
			stripPromises(F);
		}
		for (Instruction &I : instructions(F))
			if (auto *CB = dyn_cast<CallBase>(&I); CB && May.isSite(*CB))
				stripPromises(*CB);
	}
	for (Function &F : M)
		for (Instruction &I : instructions(F))
			if (auto *Call = dyn_cast<CallInst>(&I); Call && mayCall(*Call))
				RT.pin(*Call, "inline assembly calls a function");
	for (Function *F : Moving)
		FunctionCapture(*F, May, RT).run();
	return PreservedAnalyses::none();
}

} // namespace popcorn
